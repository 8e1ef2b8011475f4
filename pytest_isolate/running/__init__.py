"""DO the plan through engine.api."""
