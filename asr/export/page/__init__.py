"""The files of the page that runs an exported model in a browser."""
