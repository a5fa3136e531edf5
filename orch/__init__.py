"""Orchestrates a team of coding agents until the work is proven. Importing it does nothing."""
