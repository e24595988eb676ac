"""A call of ``stream`` or ``invoke``, from its arguments to a run that can be started."""
