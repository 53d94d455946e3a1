import pytest

from ssr_hydra.configs import GROUPS, TORCHVISION_MODELS, TRANSFORMS, TorchvisionModelConfig

models = pytest.importorskip("torchvision.models")


def test_list_of_models_equals_the_list_of_torchvision():
    assert list(TORCHVISION_MODELS) == models.list_models(module=models)


def test_model_choice_has_the_name_of_the_torchvision_model():
    choices = {
        name: config.name for name, config in GROUPS["model"].items() if isinstance(config, TorchvisionModelConfig)
    }
    assert choices
    assert all(name == model and name in TORCHVISION_MODELS for name, model in choices.items())


def test_transforms_that_call_functions_or_need_boxes_are_excluded():
    assert list(TRANSFORMS) == sorted(TRANSFORMS)
    assert not {"Lambda", "CutMix", "MixUp", "FiveCrop", "TenCrop", "LinearTransformation", "ToDtype"} & set(TRANSFORMS)
