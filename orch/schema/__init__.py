"""JSON Schemas of what orch prints and reads: made from the models, and shipped beside this file."""
