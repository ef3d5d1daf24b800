"""Where things are on a drawn figure."""

import itertools


def assert_apart_and_inside(figure, items):
    """Of texts (those that are empty aside) and axes none touches another or leaves the page, by half a pixel."""
    figure.canvas.draw()
    boxes = [item.get_window_extent() for item in items if not hasattr(item, "get_text") or item.get_text()]
    for one, other in itertools.combinations(boxes, 2):
        assert not (min(one.x1, other.x1) - max(one.x0, other.x0) > 0.5
                    and min(one.y1, other.y1) - max(one.y0, other.y0) > 0.5), (one, other)
    for box in boxes:
        assert -0.5 <= box.x0 <= box.x1 <= figure.bbox.width + 0.5
        assert -0.5 <= box.y0 <= box.y1 <= figure.bbox.height + 0.5
