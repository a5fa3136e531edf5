"""Who answers: the wires to model endpoints."""
