"""The built-in modules: a file here is a module and has its name."""
