"""Examples of a task, in the spellings that people have."""
