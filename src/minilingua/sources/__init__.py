"""Raw data: source specs, fetching, the generated sample, and readers of native rows."""
