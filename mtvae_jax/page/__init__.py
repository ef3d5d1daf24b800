"""A page to play with: a trained model and the code that runs it in a browser, in one HTML file."""
