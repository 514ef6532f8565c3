import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from frazil.core.seeds import numpy_generator
from frazil.simulation.specimen.settings import SpecimenSettings, specimen_structures
from frazil.simulation.structures.built_in import DISTRACTORS, PARTICLES


def small(**changes) -> SpecimenSettings:
    return SpecimenSettings.model_validate({"shape_voxel": (32, 48, 48), "voxel_size_angstrom": 20.0} | changes)


def test_text_reads_like_values():
    written = small(shape_voxel="32, 48,48", particles_per_class="ribosome=2, apo-ferritin=5", ice_tilt_degrees="3,-4",
                    ice_thickness_angstrom="300")  # fmt: skip
    assert written == small(
        particles_per_class={"ribosome": 2, "apo-ferritin": 5}, ice_tilt_degrees=(3, -4), ice_thickness_angstrom=300
    )
    assert small(particles_per_class="3").particles_per_class == dict.fromkeys(PARTICLES, 3)
    assert small(concentrations="150.5").concentrations == dict.fromkeys(PARTICLES, 150.5)


def test_without_amounts_there_are_twelve_of_each():
    assert small().particles_per_class == dict.fromkeys(PARTICLES, 12)
    assert small(concentrations="ribosome=100").particles_per_class is None


@given(
    amounts=st.sampled_from([{"particles_per_class": "4"}, {"concentrations": "ribosome=200"}]),
    crowding=st.one_of(st.none(), st.floats(0.01, 0.3)),
    thickness=st.floats(100, 640),
)
def test_what_is_written_reads_back(amounts, crowding, thickness):
    settings = small(
        **amounts,
        crowding=crowding,
        ice_thickness_angstrom=thickness,
        structures=({"label": "ribosome", "mass_kda": 4000}, {"label": "own", "source": "own.mrc", "distractor": True}),
    )
    assert SpecimenSettings.model_validate(settings.model_dump(mode="json")) == settings
    assert SpecimenSettings.model_validate_json(settings.model_dump_json()) == settings


def test_concentrations_are_per_cubic_micrometre_of_ice():
    settings = small(concentrations={"ribosome": 2000.0, "apo-ferritin": 0.1})
    room_voxel = 32 * 48 * 48 // 2
    generator = numpy_generator(0, "counts")
    counts = [settings.counts(["ribosome", "apo-ferritin"], room_voxel, generator) for _ in range(2000)]
    expected = 2000 * 16 * 48 * 48 * 20**3 / 1e12  # 0.59
    assert {count["ribosome"] for count in counts} == {0, 1}
    assert np.mean([count["ribosome"] for count in counts]) == pytest.approx(expected, abs=0.05)
    assert max(count["apo-ferritin"] for count in counts) <= 1
    whole = small(concentrations={"ribosome": 2e7}).counts(["ribosome"], room_voxel, generator)["ribosome"]
    assert whole == pytest.approx(expected * 1e4, abs=1)


def test_structures_are_those_that_are_named():
    assert list(specimen_structures(small(particles_per_class="ribosome=1,apo-ferritin=2"))) == [
        "ribosome",
        "apo-ferritin",
    ]
    changed = small(particles_per_class="ribosome=1", structures=[{"label": "ribosome", "mass_kda": 4000}])
    assert specimen_structures(changed)["ribosome"].mass_kda == 4000


def test_picked_classes_stand_for_the_annotated_ones():
    distractor = {"label": "apo-ferritin", "distractor": True}
    settings = small(particles_per_class="ribosome=1,apo-ferritin=2", structures=[distractor])
    assert list(specimen_structures(settings, picked=["thyroglobulin", "beta-amylase", "thyroglobulin"])) == [
        "beta-amylase",
        "thyroglobulin",
        "apo-ferritin",
    ]


def test_distractors_are_those_built_in_or_said_to_be():
    settings = small(structures=[{"label": "apo-ferritin", "distractor": True}])
    assert settings.is_distractor("apo-ferritin")
    assert not settings.is_distractor("ribosome")
    for label in DISTRACTORS:
        assert settings.is_distractor(label)
        assert not small(structures=[{"label": label}]).is_distractor(label)


def test_a_file_is_not_read_before_it_is_needed(tmp_path):
    settings = small(
        particles_per_class="own=1", structures=[{"label": "own", "source": str(tmp_path / "none.mrc"), "mass_kda": 9}]
    )
    with pytest.raises(Exception, match=r"none\.mrc"):
        specimen_structures(settings)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"voxel_size_angstrom": 0.0}, "voxel_size_angstrom"),
        ({"particles_per_class": "ribosome=0"}, "particles_per_class.ribosome"),
        ({"particles_per_class": "ribosome=1,ribosome=2"}, "ribosome named twice; name each particle once"),
        ({"particles_per_class": {}}, "none named; name at least one"),
        ({"particles_per_class": "many"}, "particles_per_class"),
        ({"concentrations": "ribosome=0"}, "concentrations.ribosome"),
        ({"concentrations": "3", "particles_per_class": "3"}, "both counts and concentrations; give one of them"),
        ({"crowding": 0.31}, "crowding"),
        ({"crowding": 0.0}, "crowding"),
        ({"shape_voxel": (4, 48, 48)}, "shape 4,48,48: make every edge at least 8"),
        ({"shape_voxel": "32,48"}, "shape_voxel"),
        ({"ice_thickness_angstrom": 700.0}, "ice 700 A thick in a tomogram of 640 A"),
        ({"ice_thickness_angstrom": -1.0}, "ice_thickness_angstrom"),
        ({"ice_tilt_degrees": (3, 0)}, "ice tilt 3,0: .* give its thickness"),
        ({"ice_offset_angstrom": 50}, "ice_offset_angstrom"),
        ({"ice_thickness_angstrom": 400, "ice_tilt_degrees": (0, 70)}, "ice tilt 0,70: keep both angles within -60"),
        ({"orientation_concentration": -1}, "orientation_concentration"),
        ({"orientations": "up"}, "orientations"),
        ({"voxel_size": 3}, "voxel_size"),
    ],
)
def test_what_cannot_be_a_specimen_is_refused(changes, message):
    with pytest.raises(ValidationError, match=message):
        small(**changes)


def test_presets_that_an_older_frazil_calibrated_can_be_read():
    assert small(cut_at_border=True, ice_offset_angstrom=0.0) == small()


def test_ice_that_is_too_thick_for_another_tomogram_fills_it():
    thick = small(ice_thickness_angstrom=600, ice_tilt_degrees=(3, 0))
    assert not thick.is_ice_too_thick((40, 48, 48), 15.0)
    assert thick.for_tomogram((40, 48, 48), 15.0).ice_thickness_angstrom == 600
    assert thick.is_ice_too_thick((40, 48, 48), 14.0)
    thin = thick.for_tomogram((40, 48, 48), 14.0)
    assert (thin.ice_thickness_angstrom, thin.ice_tilt_degrees, thin.voxel_size_angstrom) == (None, (0, 0), 14.0)
