"""Losses as the papers write them, and the peers that have the same form."""

import torch
import torch.nn.functional as F

EPS = 1e-5


def dice(p, g, lam=0.0):
    axes = tuple(range(2, p.ndim))
    w = lam * (p - g).abs() + (1 - lam)
    return (1 - (2 * (w * p * g).sum(axes) + EPS) / ((w * (p + g)).sum(axes) + EPS)).mean()


def generalized(p, g):
    """Sudre et al. 2017, a sample at a time; epsilon counts voxels of the rarest class, and a class that is absent
    weighs as much as that one."""
    losses = []
    for ps, gs in zip(p.flatten(2), g.flatten(2)):
        volumes = gs.sum(1)
        present = [v.item() for v in volumes if v > 0]
        rarest = min(present, default=1.0)
        w = [rarest**2 / v.item() ** 2 if v > 0 else 1.0 for v in volumes]
        w = torch.tensor(w, dtype=torch.float64)
        above = 2 * (w * (ps * gs).sum(1)).sum() + EPS
        losses.append(1 - above / ((w * (ps + gs).sum(1)).sum() + EPS))
    return torch.stack(losses).mean()


def focal(log_p, g, gamma, alpha):
    w = torch.ones(g.shape[1], dtype=g.dtype) if alpha is None else torch.full([g.shape[1]], alpha, dtype=g.dtype)
    if alpha is not None:
        w[0] = 1 - alpha
    each = -w.view([-1] + [1] * (g.ndim - 2)) * g * (1 - log_p.exp()) ** gamma * log_p
    return each.sum(1).mean()


def by_kind(loss, p, log_p, g, two):
    """`two` are log-probabilities and truth for the losses that see every class."""
    kind = loss["type"]
    if kind == "dice":
        return dice(p, g)
    if kind == "hardness_dice":
        return dice(p, g, loss["lambda"])
    if kind == "generalized_dice":
        return generalized(p, g)
    if kind == "cross_entropy":
        return focal(log_p, two, 0, None)
    if kind == "focal":
        return focal(log_p, two, loss["gamma"], loss["alpha"])
    assert kind == "dice_ce"
    first = 0 if loss["include_background"] or p.shape[1] == 1 else 1
    return dice(p[:, first:], g[:, first:]) + focal(log_p, two, 0, None)


def of_segmentation(loss, logits, g):
    return by_kind(loss, torch.softmax(logits, 1), torch.log_softmax(logits, 1), g, g)


def of_map(loss, a, g):
    two = torch.cat([1 - a, a], 1).log()
    return by_kind(loss, a, two, g, torch.cat([1 - g, g], 1))


def total(loss, weight, config, net, logits, maps, labels):
    truth = F.one_hot(labels, logits.shape[1]).movedim(-1, 1).double()
    value = of_segmentation(loss, logits, truth)
    if config["attention"] != "supervised":
        return value
    supervision = config.get("supervision", {"pooling": "average", "loss": "segmentation"})
    pool = F.avg_pool3d if supervision["pooling"] == "average" else F.max_pool3d
    map_loss = loss if supervision["loss"] == "segmentation" else {"type": "dice"}
    foreground = net.pad((labels > 0).double()[:, None])
    each = []
    for a in maps:
        scale = [n // m for n, m in zip(foreground.shape[2:], a.shape[2:])]
        each.append(of_map(map_loss, a, pool(foreground, scale, scale)))
    return weight * torch.stack(each).mean() + value


def peer(loss, logits, labels):
    """The same by MONAI or nnU-Net, where they have it; some of them compute in single precision."""
    from monai.losses import DiceCELoss, DiceLoss, FocalLoss, GeneralizedDiceLoss
    from nnunetv2.training.loss.compound_losses import DC_and_CE_loss
    from nnunetv2.training.loss.dice import MemoryEfficientSoftDiceLoss

    classes, target = logits.shape[1], labels[:, None]
    kind = loss["type"]
    softmax = {"softmax": True, "to_onehot_y": True}
    if kind == "dice" or (kind == "hardness_dice" and loss["lambda"] == 0):
        return DiceLoss(**softmax)(logits, target)
    if kind == "generalized_dice":
        # MONAI's weights are not scaled, so that its epsilon must be.
        each = []
        for one, label in zip(logits, target):
            scale = EPS / min(n for n in label.flatten().bincount().tolist() if n) ** 2
            monai = GeneralizedDiceLoss(smooth_nr=scale, smooth_dr=scale, **softmax)
            each.append(monai(one[None], label[None]))
        return torch.stack(each).mean()
    if kind == "cross_entropy":
        return F.cross_entropy(logits, labels)
    if kind == "focal":
        monai = FocalLoss(gamma=loss["gamma"], alpha=loss["alpha"], to_onehot_y=True, use_softmax=True)
        # MONAI's mean is over classes too.
        return monai(logits, target) * classes
    if kind == "dice_ce" and loss["include_background"]:
        return DiceCELoss(**softmax)(logits, target)
    if kind == "dice_ce":
        soft = {"batch_dice": False, "do_bg": False, "smooth": EPS, "ddp": False}
        return 1 + DC_and_CE_loss(soft, {}, dice_class=MemoryEfficientSoftDiceLoss)(logits, target)
    return None
