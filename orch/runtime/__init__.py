"""What makes a mission happen: sessions, verification, shutdown."""
