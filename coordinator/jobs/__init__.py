"""Jobs that are kept until somebody removes them: the core under batches, services and the portal."""
