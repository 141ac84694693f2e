"""Widths of sensors by the names people give them."""

import pytest

from sfm.errors import UsageError
from sfm.sensors import SENSORS_MM, sensor_mm


@pytest.mark.parametrize("name", ["ARRI Alexa Mini LF", "alexa 35", "red komod"])
def test_a_name_that_is_not_there_tells_the_nearest(name):
    with pytest.raises(UsageError, match=f"--sensor {name}: not known; the nearest are .*; for any other") as caught:
        sensor_mm(name)
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 250
    nearest = {"ARRI Alexa Mini LF": "ARRI Alexa LF", "alexa 35": "ARRI Alexa 35", "red komod": "RED Komodo"}[name]
    assert nearest in str(caught.value)


def test_names_are_read_as_people_write_them():
    assert sensor_mm("arri ALEXA-mini") == sensor_mm("ARRI Alexa Mini") == (28.25, 18.17)
    assert sensor_mm("super 35 film")[0] == 24.89
    assert len({sensor_mm(name) and name for name in SENSORS_MM}) == len(SENSORS_MM)


def test_every_sensor_has_a_shape_that_cameras_have():
    for name, (width, height) in SENSORS_MM.items():
        assert 5 < width < 55 and 1.2 < width / height < 2.2, name
