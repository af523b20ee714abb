"""What was recorded: questions, comparison, lineage, deletion."""
