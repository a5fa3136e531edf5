"""What lies under .opencode/: journal, leases, views."""
