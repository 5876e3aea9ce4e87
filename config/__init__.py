"""What an operator writes: the schema of the YAML files, their strict loader, and runnable examples."""
