"""Software of others, with which goodparts is compared."""
