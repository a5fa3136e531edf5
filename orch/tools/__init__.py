"""What a role can do."""
