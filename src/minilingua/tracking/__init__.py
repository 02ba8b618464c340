"""MLflow, release and passport: everything that happens after a stage."""
