"""The four roles: their prompts and their grants."""
