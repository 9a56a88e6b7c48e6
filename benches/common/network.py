"""R50-ViT-B_16 TransUNet in PyTorch, with the names of the published checkpoints (Chen et al., arXiv:2102.04306)."""

import math

import torch
from torch import nn
from torch.nn import functional as F


class StdConv(nn.Conv2d):
    """Convolution without bias whose weight is standardised for each output channel."""

    def __init__(self, inputs, outputs, side, stride=1):
        super().__init__(inputs, outputs, side, stride, padding=side // 2, bias=False)

    def forward(self, x):
        variance, mean = torch.var_mean(self.weight, (1, 2, 3), keepdim=True, unbiased=False)
        return F.conv2d(x, (self.weight - mean) / torch.sqrt(variance + 1e-5), None, self.stride, self.padding)


class Unit(nn.Module):
    """Bottleneck: 1x1, 3x3 with the stride, 1x1."""

    def __init__(self, inputs, outputs, stride):
        super().__init__()
        inner = outputs // 4
        self.conv1, self.gn1 = StdConv(inputs, inner, 1), nn.GroupNorm(32, inner, 1e-6)
        self.conv2, self.gn2 = StdConv(inner, inner, 3, stride), nn.GroupNorm(32, inner, 1e-6)
        self.conv3, self.gn3 = StdConv(inner, outputs, 1), nn.GroupNorm(32, outputs, 1e-6)
        if inputs != outputs or stride != 1:
            self.downsample, self.gn_proj = StdConv(inputs, outputs, 1, stride), nn.GroupNorm(outputs, outputs)

    def forward(self, x):
        y = F.relu(self.gn1(self.conv1(x)))
        y = F.relu(self.gn2(self.conv2(y)))
        y = self.gn3(self.conv3(y))
        shortcut = self.gn_proj(self.downsample(x)) if hasattr(self, "downsample") else x
        return F.relu(shortcut + y)


class Stem(nn.Module):
    def __init__(self):
        super().__init__()
        self.root = nn.ModuleDict({"conv": StdConv(3, 64, 7, 2), "gn": nn.GroupNorm(32, 64, 1e-6)})
        self.body, inputs = nn.ModuleDict(), 64
        for block, (outputs, units) in enumerate([(256, 3), (512, 4), (1024, 9)], 1):
            layers = nn.ModuleDict()
            for unit in range(1, units + 1):
                layers[f"unit{unit}"] = Unit(inputs, outputs, 2 if block > 1 and unit == 1 else 1)
                inputs = outputs
            self.body[f"block{block}"] = layers

    def forward(self, x):
        """Features at 1/16, and skips at 1/8, 1/4, 1/2."""
        side = x.shape[-1]
        x = F.relu(self.root["gn"](self.root["conv"](x)))
        skips = [x]
        x = F.max_pool2d(x, 3, 2)
        for block, scale in ("block1", 4), ("block2", 8), ("block3", 16):
            for unit in self.body[block].values():
                x = unit(x)
            missing = side // scale - x.shape[-1]
            skips.append(F.pad(x, (0, missing, 0, missing)) if missing else x)
        return x, skips[2::-1]


class Attention(nn.Module):
    def __init__(self):
        super().__init__()
        self.query, self.key, self.value, self.out = (nn.Linear(768, 768) for _ in range(4))

    def forward(self, x):
        heads = (layer(x).unflatten(2, (12, 64)).transpose(1, 2) for layer in (self.query, self.key, self.value))
        return self.out(F.scaled_dot_product_attention(*heads).transpose(1, 2).flatten(2))


class Layer(nn.Module):
    def __init__(self):
        super().__init__()
        self.attention_norm, self.ffn_norm = nn.LayerNorm(768, 1e-6), nn.LayerNorm(768, 1e-6)
        self.attn = Attention()
        self.ffn = nn.ModuleDict({"fc1": nn.Linear(768, 3072), "fc2": nn.Linear(3072, 768)})

    def forward(self, x):
        x = x + self.attn(self.attention_norm(x))
        return x + self.ffn["fc2"](F.gelu(self.ffn["fc1"](self.ffn_norm(x))))


class Embeddings(nn.Module):
    def __init__(self, tokens):
        super().__init__()
        self.hybrid_model = Stem()
        self.patch_embeddings = nn.Conv2d(1024, 768, 1)
        self.position_embeddings = nn.Parameter(torch.zeros(1, tokens, 768))

    def forward(self, x):
        x, skips = self.hybrid_model(x)
        return self.patch_embeddings(x).flatten(2).transpose(1, 2) + self.position_embeddings, skips


def conv_norm(inputs, outputs):
    return nn.Sequential(nn.Conv2d(inputs, outputs, 3, padding=1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU())


class TransUNet(nn.Module):
    def __init__(self, classes, side=224):
        super().__init__()
        self.grid = side // 16, side // 16
        encoder = nn.ModuleDict({"layer": nn.ModuleList(Layer() for _ in range(12)), "encoder_norm": nn.LayerNorm(768, 1e-6)})
        self.transformer = nn.ModuleDict({"embeddings": Embeddings(math.prod(self.grid)), "encoder": encoder})
        sizes = [(512, 512, 256), (256, 256, 128), (128, 64, 64), (64, 0, 16)]
        blocks = [
            nn.ModuleDict({"conv1": conv_norm(inputs + skip, outputs), "conv2": conv_norm(outputs, outputs)})
            for inputs, skip, outputs in sizes
        ]
        self.decoder = nn.ModuleDict({"conv_more": conv_norm(768, 512), "blocks": nn.ModuleList(blocks)})
        self.segmentation_head = nn.Sequential(nn.Conv2d(16, classes, 3, padding=1))

    def forward(self, x):
        """`[b, 1, side, side]` to logits `[b, classes, side, side]`."""
        x, skips = self.transformer["embeddings"](x.repeat(1, 3, 1, 1))
        for layer in self.transformer["encoder"]["layer"]:
            x = layer(x)
        x = self.transformer["encoder"]["encoder_norm"](x).transpose(1, 2).unflatten(2, self.grid)
        x = self.decoder["conv_more"](x)
        for block, skip in zip(self.decoder["blocks"], [*skips, None]):
            x = F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=True)
            x = block["conv2"](block["conv1"](x if skip is None else torch.cat([x, skip], 1)))
        return self.segmentation_head(x)


def loss(logits, labels):
    """Half cross-entropy, half Dice over all classes and the whole batch."""
    truth = F.one_hot(labels, logits.shape[1]).permute(0, 3, 1, 2).float()
    p = logits.softmax(1)
    shared, total = ((p * truth).sum((0, 2, 3)), (p * p).sum((0, 2, 3)) + (truth * truth).sum((0, 2, 3)))
    dice = 1 - (2 * shared + 1e-5) / (total + 1e-5)
    return 0.5 * F.cross_entropy(logits, labels) + 0.5 * dice.mean()
