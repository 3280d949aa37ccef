"""Methods compared on tasks: what composing gains over the plain model, over prompting, and over chance."""
