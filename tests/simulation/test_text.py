"""Numbers written on a command line."""

from frazil.simulation.microscope.optics import OpticsSettings
from frazil.simulation.microscope.tilts import TiltSettings
from frazil.simulation.specimen.surroundings import SurroundingsSettings
from frazil.simulation.text import joined


def test_ranges_read_the_same_from_text_and_from_a_preset():
    assert OpticsSettings.model_validate({"defocus_um": "2.5,2.5"}).defocus_um == (2.5, 2.5)
    assert TiltSettings.model_validate({"range_degrees": "-50, 48"}).range_degrees == (-50.0, 48.0)
    assert SurroundingsSettings(vesicle_radius_angstrom="100,200").vesicle_radius_angstrom == (100.0, 200.0)
    assert joined((100.0, 2.5)) == "100,2.5"
