"""The report as one HTML page: what is shown, drawn as SVG that follows the reader's theme."""
