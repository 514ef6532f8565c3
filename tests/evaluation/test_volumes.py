import numpy as np

from frazil.evaluation.volumes import Sets, VolumeSet


def labelled(*labels):
    return VolumeSet(np.zeros((len(labels), 1, 1, 1), np.float32), np.array(labels), tuple(labels), 10.0)


def test_everything_is_judged_and_each_class_if_there_are_several():
    several, one = labelled("b", "a", "b"), labelled("b", "b")
    assert Sets(several, one, one).groups == (None, "a", "b")
    assert Sets(one, several, several).groups == (None,)
