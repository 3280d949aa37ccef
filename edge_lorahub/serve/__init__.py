"""The service: adapting and answering over HTTP, with bounds on everything that a request asks for."""
