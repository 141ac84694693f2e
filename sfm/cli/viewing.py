"""`view`: a result to look at and to walk about in."""

import contextlib
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from sfm.cli.words import Result, app, calm_opencv, option, say_incomplete
from sfm.errors import InputError, UsageError

BROWSER = "In a browser"


class ColorBy(StrEnum):
    """What the colour of a point means."""

    plate = "plate"
    depth = "depth"
    residual = "residual"
    support = "support"
    sigma = "sigma"


@app.command()
def view(
    result: Result,
    screenshot: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write a PNG instead of opening a window; needs no display.")
    ] = None,
    color_by: Annotated[ColorBy, typer.Option(help="What the colour of a point means at first.")] = ColorBy.plate,
    frame: Annotated[int | None, typer.Option(metavar="N", help="Plate number of the frame to start at.")] = None,
    through: Annotated[
        bool, typer.Option("--through", help="Start in the shot's camera, the plate behind the points.")
    ] = False,
    web: Annotated[bool, option(BROWSER, "Serve it to a browser instead, until interrupted.", "--web")] = False,
    host: Annotated[
        str, option(BROWSER, "Whom --web serves: this machine alone, or 0.0.0.0 for all who reach it.", metavar="NAME")
    ] = "localhost",
    port: Annotated[
        int, option(BROWSER, "The port of --web; the next free one where it is taken.", metavar="N")
    ] = 8080,
    save_html: Annotated[
        Path | None, option(BROWSER, "Write a page that needs nothing beside it and no network.", metavar="FILE")
    ] = None,
) -> None:
    """Look at a result: points, camera path, frusta, and through the shot's own camera."""
    if (screenshot is not None) + (save_html is not None) + web > 1:
        raise UsageError("--screenshot, --web and --save-html: choose one")
    calm_opencv()
    from sfm import console
    from sfm.results import load_model
    from sfm.view import window

    reconstruction, shot = load_model(result)
    say_incomplete(result)
    with console.logging_to(console.error_console(), console.Loudness.NORMAL):
        video = _plates(shot)
        index = _index(shot, frame)
        options = window.ViewOptions(color_by=color_by.value, frame=index, through=through)
        if screenshot is not None:
            window.screenshot(reconstruction, shot, screenshot, options, video)
            print(screenshot)
        elif web:
            from sfm.view.web import WebViewer

            with WebViewer(reconstruction, shot, options, video, host=host, port=port) as viewer:
                print(f"{viewer.url}   (until interrupted with ctrl-C)", flush=True)
                with contextlib.suppress(KeyboardInterrupt):  # how one ends it
                    viewer.wait()
        elif save_html is not None:
            from sfm.view.page import write_page

            write_page(reconstruction, shot, save_html, options, video)
            print(save_html)
        else:
            window.show(reconstruction, shot, options, video)


def _plates(shot):
    """The plates of a shot, None where they are gone: the rest can be looked at without them."""
    from sfm import console
    from sfm.video import reopen

    try:
        return reopen(shot)
    except InputError as error:
        console.error_console().print(f"note: without plates ({error})", style="yellow")
        return None


def _index(shot, frame: int | None) -> int:
    """The index of a plate number, that of the first where none is asked for."""
    numbers = shot.frame_numbers.tolist()
    if frame is None:
        return 0
    if frame not in numbers:
        raise UsageError(f"--frame {frame}: not one of the shot's, {numbers[0]}-{numbers[-1]}")
    return numbers.index(frame)
