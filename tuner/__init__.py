"""What decides: studies, samplers, the controller, and what is shown of a run."""
