"""The VQ autoencoder: pictures to a mildly compressed latent and back, with one codebook look-up in between.

Module names are those of CompVis latent-diffusion's `VQModel`, so public first stages load key by key
(`clrface_core.models.vq_import`). The codebook is read in float32 whatever the network's dtype: neighbours in
an 8192-entry codebook lie closer together than bfloat16 resolves.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..errors import CLRFaceError


@dataclass(frozen=True)
class VQConfig:
    """Shape of the autoencoder. `ch * ch_mult[i]` channels at resolution 1/2^i, hence compression 2^(levels-1).

    `norm_groups=0` leaves the group norms out: a network without them treats a crop as it treats the whole
    picture, keeps colour without effort, and is faster (the finding of EDSR, Lim et al. 2017).
    """

    ch: int = 128
    ch_mult: tuple[int, ...] = (1, 2, 4)
    num_res_blocks: int = 2
    z_channels: int = 3
    embed_dim: int = 3
    n_embed: int = 8192
    norm_groups: int = 32
    mid_attention: bool = True

    @property
    def compression(self) -> int:
        """Side of the picture over side of the latent: 4, 8, 16 or 32."""
        return 2 ** (len(self.ch_mult) - 1)

    def __post_init__(self) -> None:
        if self.compression not in (4, 8, 16, 32):
            raise CLRFaceError(
                f"The VQ needs 3 to 6 channel multipliers (compression 4, 8, 16 or 32), got {len(self.ch_mult)}: "
                "give ch_mult one entry per resolution."
            )
        odd = [m for m in (1, *self.ch_mult) if self.norm_groups and self.ch * m % self.norm_groups]
        if odd:
            raise CLRFaceError(
                f"Every VQ width must be a multiple of norm_groups={self.norm_groups}, got {self.ch * odd[0]}: "
                "change ch, ch_mult or norm_groups."
            )


def _norm(channels: int, groups: int) -> nn.Module:
    return nn.GroupNorm(groups, channels, eps=1e-6) if groups else nn.Identity()


class ResnetBlock(nn.Module):
    """norm, SiLU, 3x3 convolution, twice, beside a 1x1 shortcut where the width changes."""

    def __init__(self, in_channels: int, out_channels: int, groups: int) -> None:
        super().__init__()
        self.norm1 = _norm(in_channels, groups)
        self.conv1 = nn.Conv2d(in_channels, out_channels, 3, padding=1)
        self.norm2 = _norm(out_channels, groups)
        self.conv2 = nn.Conv2d(out_channels, out_channels, 3, padding=1)
        if in_channels != out_channels:
            self.nin_shortcut = nn.Conv2d(in_channels, out_channels, 1)
        nn.init.zeros_(self.conv2.weight)  # a fresh block is its shortcut: the first hundreds of steps count double

    def forward(self, x: Tensor) -> Tensor:
        # In place where that is allowed: at full resolution fresh memory costs as much as the arithmetic on it.
        h = self.conv1(F.silu(self.norm1(x)))
        h = self.conv2(F.silu(self.norm2(h), inplace=not torch.is_grad_enabled()))
        h += self.nin_shortcut(x) if hasattr(self, "nin_shortcut") else x
        return h


class AttnBlock(nn.Module):
    """Single-head self-attention over all positions, with 1x1 convolutions as LDM stores it."""

    def __init__(self, channels: int, groups: int) -> None:
        super().__init__()
        self.norm = _norm(channels, groups)
        self.q = nn.Conv2d(channels, channels, 1)
        self.k = nn.Conv2d(channels, channels, 1)
        self.v = nn.Conv2d(channels, channels, 1)
        self.proj_out = nn.Conv2d(channels, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        h = self.norm(x)
        q, k, v = (f(h).flatten(2).transpose(1, 2)[:, None] for f in (self.q, self.k, self.v))
        h = F.scaled_dot_product_attention(q, k, v)
        return x + self.proj_out(h.transpose(-1, -2).reshape(x.shape))


class Downsample(nn.Module):
    """Halve by a strided convolution, padded on the right and below only, as LDM does."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, stride=2)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(F.pad(x, (0, 1, 0, 1)))


class Upsample(nn.Module):
    """Double by nearest neighbour, then a convolution.

    On a CPU both are one transposed convolution: three taps that meet only two different pixels are two taps, so
    it takes 4/9 of the products, and the enlarged picture never comes into being. Twice as fast or better.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        if x.device.type == "cpu":
            return F.conv_transpose2d(x, doubling_kernel(self.conv.weight), self.conv.bias, stride=2, padding=1)
        return self.conv(F.interpolate(x, scale_factor=2.0, mode="nearest"))


def doubling_kernel(weight: Tensor) -> Tensor:
    """(I,O,4,4): the kernel of a transposed convolution of stride 2 and padding 1 that does what doubling by nearest
    neighbour and then a convolution with `weight` (O,I,3,3), padding 1, does.

    Along an axis a pixel reaches four outputs; row i of `taps` says which two of them see it through tap i.
    """
    taps = weight.new_tensor([[0, 0, 1, 1], [0, 1, 1, 0], [1, 1, 0, 0]])
    kernel = torch.einsum("oihw,hp,wq->iopq", weight, taps, taps)
    return kernel.contiguous(memory_format=torch.channels_last)


def _mid(channels: int, config: VQConfig) -> nn.Module:
    mid = nn.Module()
    mid.block_1 = ResnetBlock(channels, channels, config.norm_groups)
    if config.mid_attention:
        mid.attn_1 = AttnBlock(channels, config.norm_groups)
    mid.block_2 = ResnetBlock(channels, channels, config.norm_groups)
    return mid


def _run_mid(mid: nn.Module, x: Tensor) -> Tensor:
    for block in mid.children():
        x = block(x)
    return x


class Encoder(nn.Module):
    """Picture (B,3,H,W) in [-1,1] to features (B,z_channels,H/f,W/f)."""

    def __init__(self, config: VQConfig) -> None:
        super().__init__()
        groups = config.norm_groups
        self.conv_in = nn.Conv2d(3, config.ch, 3, padding=1)
        self.down = nn.ModuleList()
        channels = config.ch
        for level, mult in enumerate(config.ch_mult):
            down = nn.Module()
            down.block = nn.ModuleList()
            for _ in range(config.num_res_blocks):
                down.block.append(ResnetBlock(channels, config.ch * mult, groups))
                channels = config.ch * mult
            if level < len(config.ch_mult) - 1:
                down.downsample = Downsample(channels)
            self.down.append(down)
        self.mid = _mid(channels, config)
        self.norm_out = _norm(channels, groups)
        self.conv_out = nn.Conv2d(channels, config.z_channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        h = self.conv_in(x)
        for down in self.down:
            for block in down.block:  # type: ignore[union-attr]
                h = block(h)
            if hasattr(down, "downsample"):
                h = down.downsample(h)  # type: ignore[operator]
        return self.conv_out(F.silu(self.norm_out(_run_mid(self.mid, h))))


class Decoder(nn.Module):
    """Features (B,z_channels,h,w) to a picture (B,3,f*h,f*w), about [-1,1]."""

    def __init__(self, config: VQConfig) -> None:
        super().__init__()
        groups = config.norm_groups
        channels = config.ch * config.ch_mult[-1]
        self.conv_in = nn.Conv2d(config.z_channels, channels, 3, padding=1)
        self.mid = _mid(channels, config)
        # Stored finest first, as LDM does, and run coarsest first.
        self.up = nn.ModuleList(nn.Module() for _ in config.ch_mult)
        for level in reversed(range(len(config.ch_mult))):
            up = self.up[level]
            up.block = nn.ModuleList()
            for _ in range(config.num_res_blocks + 1):
                up.block.append(ResnetBlock(channels, config.ch * config.ch_mult[level], groups))
                channels = config.ch * config.ch_mult[level]
            if level > 0:
                up.upsample = Upsample(channels)
        self.norm_out = _norm(channels, groups)
        self.conv_out = nn.Conv2d(channels, 3, 3, padding=1)

    def forward(self, z: Tensor) -> Tensor:
        h = _run_mid(self.mid, self.conv_in(z))
        for up in reversed(self.up):
            for block in up.block:  # type: ignore[union-attr]
                h = block(h)
            if hasattr(up, "upsample"):
                h = up.upsample(h)  # type: ignore[operator]
        return self.conv_out(F.silu(self.norm_out(h)))


class Codebook(nn.Module):
    """`n_embed` vectors of `embed_dim`; a latent position becomes its nearest one (squared Euclidean)."""

    def __init__(self, n_embed: int, embed_dim: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(n_embed, embed_dim)
        nn.init.uniform_(self.embedding.weight, -1.0, 1.0)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Codebook:
        # Moves of the whole model between devices reach the codebook, changes of its dtype do not.
        return super()._apply(lambda tensor: tensor.to(fn(tensor).device), recurse)

    @torch.no_grad()
    def nearest(self, z: Tensor) -> Tensor:
        """Indices (B,h,w) of the entries nearest to `z` (B,C,h,w), compared in float32 or finer. CLRFaceError for
        NaN, which is nearest to nothing."""
        flat = z.movedim(1, -1).flatten(0, 2).float()
        if not torch.isfinite(flat).all():
            raise CLRFaceError("Expected finite latents, got NaN or infinity: use dtype float32.")
        entries = self.embedding.weight.float()
        few = entries.shape[1] <= 4  # dimensions; with more a tree no longer helps
        found = _by_tree(flat, entries) if few and z.device.type == "cpu" else _by_products(flat, entries)
        return found.view(z.shape[0], *z.shape[2:])

    def forward(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """The quantised latent, in z's shape and dtype, and its indices (B,h,w)."""
        indices = self.nearest(z)
        z_q = self.embedding(indices).movedim(-1, 1)
        return z_q.to(z.dtype), indices


def _by_tree(points: Tensor, entries: Tensor) -> Tensor:
    """(N,) for points (N,C) among entries (M,C): the tree takes 5 ms to grow, and 16384 points in it 20 ms, where all
    distances to 16384 entries take 460 ms on two cores."""
    from scipy.spatial import KDTree  # 0.3 s, and only those who quantise on a CPU need it

    tree = KDTree(entries.detach().numpy())
    return torch.from_numpy(tree.query(points.numpy(), workers=torch.get_num_threads())[1])


def _by_products(points: Tensor, entries: Tensor) -> Tensor:
    """The same from all distances: |p-e|^2 orders like |e|^2/2 - p.e. In blocks of a quarter of a gigabyte."""
    half_norms = entries.square().sum(1) / 2
    blocks = points.split(max(1, 2**26 // len(entries)))
    chunks = [torch.addmm(half_norms, block, entries.T, beta=-1).max(1).indices for block in blocks]
    return torch.cat(chunks)


class VQModel(nn.Module):
    """Vector-quantised autoencoder (van den Oord et al. 2017; Esser et al. 2021; LDM's first stage).

    Pictures are (B,3,H,W) in [0,1], H and W multiples of `config.compression`; latents are
    (B,embed_dim,H/f,W/f), continuous until `quantize`.
    """

    def __init__(self, config: VQConfig) -> None:
        super().__init__()
        self.config = config
        self.encoder = Encoder(config)
        self.quant_conv = nn.Conv2d(config.z_channels, config.embed_dim, 1)
        self.quantize = Codebook(config.n_embed, config.embed_dim)
        self.post_quant_conv = nn.Conv2d(config.embed_dim, config.z_channels, 1)
        self.decoder = Decoder(config)
        self._start_near_isometry()

    def _start_near_isometry(self) -> None:
        """Orthogonal trunk convolutions; with every block starting as its shortcut, a fresh model keeps the
        signal's size from end to end. torch's default gain of 0.58 per layer would lose it on the way."""
        for name, module in self.named_modules():
            if isinstance(module, nn.Conv2d) and not name.endswith(("conv1", "conv2")):
                nn.init.orthogonal_(module.weight)
                nn.init.zeros_(module.bias)  # type: ignore[arg-type]

    def encode(self, x: Tensor) -> Tensor:
        """Continuous latent of a picture in [0,1]."""
        f = self.config.compression
        if x.ndim != 4 or x.shape[1] != 3 or x.shape[2] % f or x.shape[3] % f:
            raise CLRFaceError(
                f"The VQ encoder expects pictures (B,3,H,W) with sides that are multiples of {f}, "
                f"got {tuple(x.shape)}: resize or pad them first."
            )
        return _one_by_one(lambda part: self.quant_conv(self.encoder(part * 2 - 1)), x)

    def decode(self, z: Tensor) -> Tensor:
        """Picture of a latent, [0,1] up to small overshoots (not clamped, so that gradients live)."""
        return _one_by_one(lambda part: (self.decoder(self.post_quant_conv(part)) + 1) / 2, z)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Reconstruction, continuous latent, quantised latent, indices; gradients pass straight through."""
        z = self.encode(x)
        z_q, indices = self.quantize(z)
        return self.decode(z + (z_q - z).detach()), z, z_q, indices


def _one_by_one(network: Callable[[Tensor], Tensor], batch: Tensor) -> Tensor:
    """`network` on every picture of a batch: on a CPU, and where no gradient is wanted, one at a time.

    At full resolution the feature maps of two 512 px faces are past what the allocator keeps and the caches
    hold: encoding both at once takes 1.7 times as long as one after the other, and twice the memory.
    """
    if batch.device.type != "cpu" or torch.is_grad_enabled() or len(batch) < 2:
        return network(batch)
    return torch.cat([network(part) for part in batch.split(1)])


def scale_of(z: Tensor) -> tuple[Tensor, float]:
    """The mean of latents (B,C,h,w) per channel, (C,), and their standard deviation around it, over all channels."""
    mean = z.mean((0, 2, 3))
    return mean, float((z - mean[:, None, None]).std())


@torch.no_grad()
def standardise_latents(vq: VQModel, mean: Tensor, std: float) -> None:
    """Re-parameterise in place so that latents have zero mean per channel and unit variance overall.

    The affine map (z - mean) / std is folded into quant_conv, the codebook and post_quant_conv: every picture
    decodes as before and, `std` being one number for all channels, every position keeps its nearest entry.
    The diffusion then needs no scale factor. `mean` is (embed_dim,).
    """
    if std <= 0:
        raise CLRFaceError(f"The latents' standard deviation must be positive, got {std}: train the VQ first.")
    weight, bias = vq.quant_conv.weight, vq.quant_conv.bias
    post = vq.post_quant_conv
    assert bias is not None and post.bias is not None
    weight.div_(std)
    bias.sub_(mean).div_(std)
    vq.quantize.embedding.weight.sub_(mean).div_(std)
    post.bias.add_(post.weight[:, :, 0, 0] @ mean)
    post.weight.mul_(std)
