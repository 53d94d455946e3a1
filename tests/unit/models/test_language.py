import pytest
import torch
from refusals import refused
from torch import nn

from ssr_hydra.models import ByteMLP, ByteTransformer, next_token_loss

MODELS = [ByteMLP, ByteTransformer]


def tokens(samples=3, length=20, seed=0):
    return torch.randint(256, (samples, length), generator=torch.Generator().manual_seed(seed))


def model(make, **options):
    """Return a model as after some training, so that no parameter is zero."""
    torch.manual_seed(0)
    net = make(**options)
    for parameter in net.parameters():
        nn.init.normal_(parameter, std=0.3)
    return net.eval()


def test_number_of_weights_is_as_documented():
    assert sum(p.numel() for p in ByteMLP().parameters()) == 257 * 32 + (6 * 32 + 1) * 288 + 288 + 289 * 256 == 138_080
    block = 2 * 64 + 4 * 64 * 64 + 2 * 64 * 256
    assert sum(p.numel() for p in ByteTransformer().parameters()) == 256 * 64 + 2 * block + 64 == 115_008
    assert sum(p.numel() for p in ByteTransformer(tied=False).parameters()) == 115_008 + 256 * 64


@pytest.mark.parametrize("make", MODELS)
def test_output_does_not_depend_on_later_tokens(make):
    net, inputs = model(make), tokens()
    before = net(inputs)
    changed = inputs.clone()
    changed[:, 12:] = tokens(seed=1)[:, 12:]
    after = net(changed)
    torch.testing.assert_close(after[:, :12], before[:, :12])
    assert not torch.allclose(after[:, 12:], before[:, 12:])


def test_output_of_the_perceptron_depends_only_on_its_context():
    net, inputs = model(ByteMLP, context=5), tokens()
    changed = inputs.clone()
    changed[:, 3] = (changed[:, 3] + 1) % 256
    different = (net(changed) != net(inputs)).any(-1).any(0)
    assert different.nonzero().flatten().tolist() == [3, 4, 5, 6, 7]
    # Computed by hand: two embeddings side by side, with "nothing" before the start of the window.
    byte_mlp = ByteMLP(context=2, width=3, hidden=4)
    mixed = byte_mlp.mix(byte_mlp.embed(torch.tensor([[256, 7], [7, 9]])).flatten(1))
    expected = byte_mlp.unembed(byte_mlp.norm(nn.functional.gelu(mixed)))
    torch.testing.assert_close(byte_mlp(torch.tensor([[7, 9]]))[0], expected)


def test_attention_depends_only_on_relative_positions():
    """What a token computes from the k tokens before it does not depend on where the window begins.

    The embeddings are rotary, and the model has one block.
    """
    net, inputs = model(ByteTransformer, depth=1), tokens(1, 12)
    masked = torch.ones(1, 15, dtype=torch.int64)
    masked[:, :3] = 0  # three tokens of padding in front shift everything by three positions
    moved = torch.cat([torch.zeros(1, 3, dtype=torch.int64), inputs], 1)
    torch.testing.assert_close(net(moved, masked)[:, 3:], net(inputs), rtol=1e-4, atol=1e-4)
    # But the order matters.
    swapped = inputs[:, [1, 0, *range(2, 12)]]
    assert not torch.allclose(net(swapped)[:, -1], net(inputs)[:, -1])


@pytest.mark.parametrize("make", MODELS)
@pytest.mark.parametrize("side", ["left", "right"])
def test_padding_does_not_change_the_output(make, side):
    net, inputs = model(make), tokens(2, 9)
    place = slice(4, 13) if side == "left" else slice(0, 9)
    padded, mask = torch.full((2, 13), 65), torch.zeros(2, 13)
    padded[:, place], mask[:, place] = inputs, 1
    outputs = net(padded, mask)
    torch.testing.assert_close(outputs[:, place], net(inputs), rtol=1e-4, atol=1e-4)
    assert torch.isfinite(outputs).all()


@pytest.mark.parametrize("make", MODELS)
def test_loss_of_a_batch_uses_the_labels_of_each_document(make):
    net = model(make)
    a, b = tokens(1, 9), tokens(1, 5, seed=1)
    labels = torch.full((2, 9), -100)
    labels[0], labels[1, :5] = a[0], b[0]
    mask = (labels != -100).long()
    batch = {"input_ids": labels.clamp(min=0), "attention_mask": mask, "labels": labels}
    answer = net(**batch)
    alone = [next_token_loss({"logits": net(part)}, {"labels": part}) for part in (a, b)]
    torch.testing.assert_close(answer["loss"], (8 * alone[0] + 4 * alone[1]) / 12)
    assert answer["logits"].shape == (2, 9, 256)


def test_every_block_starts_as_the_identity_and_the_unembedding_shares_its_weights():
    torch.manual_seed(0)
    net = ByteTransformer()
    expected = net.unembed(net.norm(net.embed(tokens())))
    torch.testing.assert_close(net(tokens()), expected)
    assert net.unembed.weight is net.embed.weight
    assert ByteTransformer(tied=False).unembed.weight is not net.embed.weight
    assert [name for name, _ in net.named_parameters()].count("embed.weight") == 1


@pytest.mark.parametrize("make", MODELS)
def test_model_supports_bfloat16_autocast_and_loads_its_weights(make):
    net = model(make)
    with torch.autocast("cpu", torch.bfloat16):
        short = net(tokens())
    torch.testing.assert_close(short.float(), net(tokens()), rtol=0.1, atol=1.0)
    other = make()
    other.load_state_dict(net.state_dict())
    torch.testing.assert_close(other.eval()(tokens()), net(tokens()))


def test_dropout_applies_only_in_training():
    net = ByteTransformer(dropout=0.5)
    assert not torch.equal(net(tokens()), net(tokens()))
    assert torch.equal(net.eval()(tokens()), net(tokens()))


@pytest.mark.parametrize(
    ("build", "field"),
    [
        (lambda: ByteMLP(context=0), "context"),
        (lambda: ByteMLP(hidden="4"), "hidden"),
        (lambda: ByteTransformer(width=60), "width"),  # a head of 15 numbers cannot be divided into pairs
        (lambda: ByteTransformer(mlp_width=-1), "mlp_width"),
        (lambda: ByteTransformer(dropout=1.0), "dropout"),
        (lambda: ByteTransformer(rope_base=float("nan")), "rope_base"),
        (lambda: ByteTransformer()(torch.zeros(2, 3)), "input_ids"),
        (lambda: ByteMLP()(torch.zeros(3, dtype=torch.int64)), "input_ids"),
    ],
)
def test_error_for_an_invalid_argument_names_the_argument(build, field):
    with refused(field):
        build()
