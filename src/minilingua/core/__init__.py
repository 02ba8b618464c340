"""What every stage shares: records, formats, seeds, files and errors."""
