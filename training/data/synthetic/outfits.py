"""What a person wears: drawn at random, dressed from the inside out."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from training.data.synthetic import fabrics
from training.data.synthetic.assets import Assets
from training.data.synthetic.body import Body
from training.data.synthetic.charts import Atlas
from training.data.synthetic.eyes import VERTICES, Eyes
from training.data.synthetic.headwear import above_brim, nearest_skin, on_the_head, tuck
from training.data.synthetic.tailor import Field, Garment, Tailor
from training.data.synthetic.wardrobe import CLASS, Fitted, Layer, fit_proxy, skin_categories

_SLEEVES = ((0.02, 0.06), (0.12, 0.2), (0.26, 0.36), (0.5, 0.62))  # metres: none, short, half, long


@dataclass
class Outfit:
    """What was chosen.

    Attributes:
        garments: cut ones; fitted: (garment of the assets, texture).
        covers: bool [19158], base vertices whose skin nobody sees.
        bulk: float32 [19158], metres that the clothes so far stand off, for what is worn over them.
        hat: float32 [19158], metres that each base vertex lies above the rim of the hat; None: no hat.
        description: words for the annotation file.
    """

    garments: list[Garment] = field(default_factory=list)
    fitted: list[tuple[Fitted, fabrics.Texture]] = field(default_factory=list)
    covers: NDArray[np.bool_] = field(default_factory=lambda: np.zeros(0, bool))
    bulk: Field = field(default_factory=lambda: np.zeros(0, np.float32))
    hat: Field | None = None
    description: list[str] = field(default_factory=list)


class Wardrobe:
    """All clothes, hair and skins, ready for any body."""

    def __init__(self, body: Body, atlas: Atlas, assets: Assets) -> None:
        self.body, self.atlas, self.tailor = body, atlas, Tailor(body, atlas)
        self.suits = {n: fit_proxy(p, body, atlas, "suit") for n, p in assets.suits.items()}
        self.shoes = {n: fit_proxy(p, body, atlas, "shoe") for n, p in assets.shoes.items()}
        self.hats = {n: fit_proxy(p, body, atlas, "hat") for n, p in assets.hats.items()}
        self.hair = {n: fit_proxy(p, body, atlas, "hair") for n, p in assets.hair.items()}
        self.brims = {
            n: above_brim(h.proxy.fit(body.template), body, self.tailor.on_head) for n, h in self.hats.items()
        }
        self.scalps = {
            n: nearest_skin(body, np.asarray(h.surface.points @ h.proxy.fit(body.template)))
            for n, h in self.hair.items()
        }
        self.skins = assets.skins
        self.skin_category = skin_categories(atlas)
        self.eyes = Eyes(body.template, body.faces, atlas, self.skin_category, assets.eyes)

    def dress(self, rng: np.random.Generator, woman: bool, child: bool = False) -> Outfit:
        """Draw an outfit."""
        count = len(self.body.template)
        outfit = Outfit(covers=np.zeros(count, bool), bulk=np.zeros(count, np.float32))
        style = rng.choice(("suit", "trousers", "skirt", "dress", "bare"), p=self._chances(woman))
        if style == "suit" and self.suits and not child:
            self._suit(rng, outfit, woman)
        elif style == "skirt":
            self._top(rng, outfit)
            self._skirt(rng, outfit, "Skirt", fabrics.fabric(rng))
            self._stockings(rng, outfit, 0.4)
        elif style == "dress":
            cloth = fabrics.fabric(rng)
            self._top(rng, outfit, "Dress", cloth)
            self._skirt(rng, outfit, "Dress", cloth)
            self._stockings(rng, outfit, 0.35)
        elif style == "bare":
            self._trousers(rng, outfit, short=True)
        else:
            self._top(rng, outfit)
            self._trousers(rng, outfit)
        if style != "suit" and rng.random() < 0.3:
            self._coat(rng, outfit)
        outfit.description.insert(0, str(style))
        self._feet(rng, outfit)
        self._extras(rng, outfit, woman)
        return outfit

    @staticmethod
    def _chances(woman: bool) -> tuple[float, ...]:
        return (0.12, 0.38, 0.25, 0.23, 0.02) if woman else (0.3, 0.65, 0.0, 0.0, 0.05)

    def _add(self, outfit: Outfit, garment: Garment | None) -> None:
        if garment is not None:
            outfit.garments.append(garment)
            outfit.covers |= garment.covers

    def _wear(self, outfit: Outfit, fitted: Fitted, texture: fabrics.Texture) -> None:
        outfit.fitted.append((fitted, texture))
        outfit.covers[fitted.proxy.hidden[fitted.proxy.hidden < len(outfit.covers)]] = True

    def _suit(self, rng: np.random.Generator, outfit: Outfit, woman: bool) -> None:
        names = [n for n in self.suits if n.startswith("female" if woman else "male")] or list(self.suits)
        suit = self.suits[str(rng.choice(names))]
        texture = suit.proxy.texture if rng.random() < 0.25 else fabrics.recolour(suit.proxy.texture, rng)
        if suit.proxy.texture.shape[0] < 16:
            texture = fabrics.fabric(rng)
        self._wear(outfit, suit, texture)

    def _top(
        self,
        rng: np.random.Generator,
        outfit: Outfit,
        category: str = "UpperClothes",
        cloth: fabrics.Texture | None = None,
    ) -> None:
        tailor = self.tailor
        low, high = _SLEEVES[rng.choice(4, p=(0.18, 0.32, 0.12, 0.38))]
        loose = rng.beta(1.2, 2.5) * 0.03
        dress = category == "Dress"
        hem = tailor.hip + (
            0.08 if dress else rng.choice((rng.uniform(-0.03, 0.08), rng.uniform(0.1, 0.2)), p=(0.8, 0.2))
        )
        sleeve = np.float32(rng.uniform(low, high)) - tailor.arm
        flare: Field = (loose * np.clip((tailor.neck[2] - tailor.points[:, 2]) / 0.5, 0, 1)).astype(np.float32)
        garment = tailor.cut(
            tailor.tights,
            [sleeve, tailor.above(float(hem)), self._neck(rng)],
            category,
            fabrics.fabric(rng) if cloth is None else cloth,
            rng,
            thickness=rng.uniform(0.005, 0.009),
            flare=flare,
            tiles=rng.uniform(1.2, 3.0),
            wrinkles=0.0006 + 0.05 * loose,
        )
        outfit.bulk = np.maximum(outfit.bulk, flare + np.float32(0.006 + 0.1 * loose))
        self._add(outfit, garment)

    def _neck(self, rng: np.random.Generator) -> Field:
        kind = rng.random()
        if kind < 0.1:  # turtleneck
            return self.tailor.neckline(0, 0, 0, rng.uniform(0.05, 0.08), False)
        width = rng.uniform(0.06, 0.1)
        front = rng.uniform(0.03, 0.06) if kind < 0.6 else rng.uniform(0.06, 0.17)
        return self.tailor.neckline(width, front, rng.uniform(0.015, 0.04), 0.05, bool(rng.random() < 0.35))

    def _trousers(self, rng: np.random.Generator, outfit: Outfit, short: bool = False) -> None:
        tailor = self.tailor
        length = tailor.ankle * (rng.uniform(0.25, 0.5) if short or rng.random() < 0.22 else rng.uniform(0.72, 1.0))
        loose = rng.choice(
            (rng.uniform(0, 0.004), rng.uniform(0.004, 0.02), rng.uniform(0.02, 0.05)), p=(0.35, 0.45, 0.2)
        )
        flare = (loose * np.clip(tailor.leg / tailor.ankle * 1.6 + 0.2, 0, 1)).astype(np.float32)
        garment = tailor.cut(
            tailor.tights,
            [np.float32(length) - tailor.leg, tailor.below(tailor.hip + rng.uniform(0.06, 0.16))],
            "Pants",
            fabrics.fabric(rng),
            rng,
            thickness=rng.uniform(0.003, 0.007),
            flare=flare,
            tiles=rng.uniform(1.2, 3.0),
            wrinkles=0.0006 + 0.04 * float(loose),
        )
        self._add(outfit, garment)

    def _skirt(self, rng: np.random.Generator, outfit: Outfit, category: str, cloth: fabrics.Texture) -> None:
        tailor = self.tailor
        points = tailor.points
        length = rng.choice(
            (rng.uniform(0.2, 0.4), rng.uniform(0.4, 0.62), rng.uniform(0.7, 0.85)), p=(0.5, 0.35, 0.15)
        )
        top = tailor.hip + 0.14
        down = np.clip((top - points[:, 2]) / 0.8, 0, 1)
        shape = rng.uniform(-0.02, 0.09)
        garment = tailor.cut(
            tailor.skirt,
            [(points[:, 2] - np.float32(tailor.hip - length)).astype(np.float32)],
            category,
            cloth,
            rng,
            thickness=0.009,
            flare=(flare := (shape * down).astype(np.float32)),
            tiles=rng.uniform(1.2, 3.0),
            wrinkles=rng.uniform(0.001, 0.005),
        )
        outfit.bulk = np.maximum(outfit.bulk, flare + np.float32(0.012))
        if garment is not None:  # legs are seen from below: only the lap's skin is left out
            garment.covers[:] = (
                (points[:, 2] < tailor.hip + 0.06) & (tailor.leg < min(0.1, length)) & (tailor.on_arm < 0.1)
            )
        self._add(outfit, garment)

    def _stockings(self, rng: np.random.Generator, outfit: Outfit, chance: float) -> None:
        if rng.random() < chance:
            tailor = self.tailor
            dark = rng.random() < 0.7
            cloth = fabrics.plain(rng.uniform(15, 45) * np.ones(3, np.float32)) if dark else fabrics.fabric(rng)
            fields = [tailor.below(tailor.hip + 0.05)]
            self._add(outfit, tailor.cut(tailor.tights, fields, "Socks", cloth, rng, thickness=0.003, wrinkles=0.0))

    def _coat(self, rng: np.random.Generator, outfit: Outfit) -> None:
        tailor = self.tailor
        cloth = fabrics.fabric(rng)
        points = tailor.points
        opening = rng.uniform(0.02, 0.09) if rng.random() < 0.7 else -0.05
        open_front = np.where(tailor.front > 0, np.abs(points[:, 0]) - opening, 0.2).astype(np.float32)
        extra = rng.uniform(0.009, 0.02)
        over = outfit.bulk
        style = {"tiles": rng.uniform(1.2, 3.0), "wrinkles": rng.uniform(0.001, 0.003)}
        fields = [
            np.float32(rng.uniform(0.42, 0.62)) - tailor.arm,
            tailor.above(tailor.hip + rng.uniform(-0.02, 0.1)),
            tailor.neckline(0.08, rng.uniform(0.05, 0.2), 0.02, rng.uniform(0.02, 0.06), True),
            open_front,
        ]
        self._add(outfit, tailor.cut(tailor.tights, fields, "Coat", cloth, rng, thickness=extra, flare=over, **style))
        if rng.random() < 0.5:
            length = np.float32(rng.uniform(0.15, 0.5))
            down = np.clip((tailor.hip + 0.14 - points[:, 2]) / 0.8, 0, 1)
            lap = [(points[:, 2] - np.float32(tailor.hip) + length).astype(np.float32), open_front]
            flare = (0.02 + over + rng.uniform(0.02, 0.06) * down).astype(np.float32)
            garment = tailor.cut(tailor.skirt, lap, "Coat", cloth, rng, thickness=extra, flare=flare, **style)
            if garment is not None:
                garment.covers[:] = False
            self._add(outfit, garment)

    def _feet(self, rng: np.random.Generator, outfit: Outfit) -> None:
        tailor, kind = self.tailor, rng.random()
        if kind < 0.12:
            return
        on_foot = tailor.leg - np.float32(tailor.ankle - rng.uniform(0.02, 0.1))
        if kind < 0.2:  # socks
            garment = tailor.cut(tailor.tights, [on_foot], "Socks", fabrics.fabric(rng), rng, thickness=0.004)
            self._add(outfit, garment)
        elif kind < 0.42 or not self.shoes:  # boots
            high = tailor.leg - np.float32(tailor.ankle - rng.uniform(0.06, 0.4))
            leather = fabrics.plain(fabrics.colour(rng) * 0.6)
            sides = ("Left-shoe", "Right-shoe")
            self._add(outfit, tailor.cut(tailor.tights, [high], sides, leather, rng, thickness=0.013, wrinkles=0.001))
        else:
            shoe = self.shoes[str(rng.choice(list(self.shoes)))]
            texture = shoe.proxy.texture if rng.random() < 0.3 else fabrics.recolour(shoe.proxy.texture, rng)
            self._wear(outfit, shoe, texture)

    def _extras(self, rng: np.random.Generator, outfit: Outfit, woman: bool) -> None:
        tailor = self.tailor
        hat = rng.random()
        short = ("short", "afro", "bob02")
        names = [n for n in self.hair if woman or n.startswith(short)]
        if rng.random() < (0.98 if woman else 0.9):
            if names and rng.random() < 0.93:
                fitted = self.hair[str(rng.choice(names))]
                self._wear(outfit, fitted, fabrics.hair_colour(fitted.proxy.texture, rng))
            else:
                self._cap(rng, outfit, "Hair", fabrics.hair_strands(rng), 0.012)
        if hat < 0.06 and self.hats:
            name = str(rng.choice(list(self.hats)))
            self._wear(outfit, self.hats[name], fabrics.fabric(rng))
            outfit.hat = self.brims[name]
        elif hat < 0.14:  # a cap without a brim
            self._cap(rng, outfit, "Hat", fabrics.fabric(rng), 0.022)
        if rng.random() < 0.08:
            band = [self._band(tailor.neck[2] - rng.uniform(0.03, 0.07), tailor.neck[2] + rng.uniform(0.04, 0.07))]
            scarf = tailor.cut(
                tailor.tights, band, "Scarf", fabrics.fabric(rng), rng, thickness=0.032, tiles=4, wrinkles=0.004
            )
            self._add(outfit, scarf)
        if rng.random() < 0.05:
            glove = np.where(tailor.on_hand > 0.02, tailor.on_hand - np.float32(0.4), np.float32(-1.0))
            texture = fabrics.plain(fabrics.colour(rng) * 0.7)
            garment = tailor.cut(tailor.skin, [glove], "Gloves", texture, rng, thickness=0.003, wrinkles=0.0005)
            self._add(outfit, garment)

    def _cap(
        self, rng: np.random.Generator, outfit: Outfit, category: str, texture: fabrics.Texture, thickness: float
    ) -> None:
        """What covers the skull above the forehead: a cap without a brim, or short hair."""
        tailor = self.tailor
        crown = tailor.points[:, 2].max()
        slope = tailor.points[:, 1] - tailor.points[tailor.on_head > 0.9, 1].mean()
        # hair goes down to the neck behind and up to the hairline in front
        lower, steep = (rng.uniform(0.085, 0.12), -0.25) if category == "Hat" else (rng.uniform(0.06, 0.085), 0.9)
        rim = tailor.points[:, 2] - np.float32(crown - lower) + steep * slope
        rim = on_the_head(rim, tailor.on_head)
        cap = tailor.cut(tailor.skin, [rim], category, texture, rng, thickness=thickness, tiles=4, wrinkles=0.001)
        self._add(outfit, cap)
        if category == "Hat":
            outfit.hat = rim

    def _band(self, low: float, high: float) -> Field:
        z = self.tailor.points[:, 2]
        near = np.hypot(self.tailor.points[:, 0], self.tailor.points[:, 1] - self.tailor.neck[1]) < 0.14
        return np.where(near, np.minimum(z - low, high - z), -0.1).astype(np.float32)

    def skin_layer(
        self, rng: np.random.Generator, posed: NDArray[np.float32], outfit: Outfit, skin: str | None
    ) -> Layer:
        """The skin that the outfit leaves bare, without the eyes; `skin` is a texture's name (None: a plain colour)."""
        surface = self.atlas.surface
        a, b, c = self.body.faces.T
        keep = ~(outfit.covers[a] & outfit.covers[b] & outfit.covers[c])[surface.parent] & ~self.eyes.faces
        return Layer(
            np.asarray(surface.points @ posed, np.float32),
            surface.faces[keep],
            self.atlas.texture[keep],
            self.skin_category[keep],
            self.atlas.part[keep],
            self.atlas.chart[keep],
            fabrics.skin_tone(fabrics.bare_skin(rng) if skin is None else self.skins[skin], rng),
            closed=True,
        )

    def worn(
        self, outfit: Outfit, rest: NDArray[np.float32], moves: NDArray[np.float32], posed: NDArray[np.float32]
    ) -> list[Layer]:
        """Clothes, hair and hat on a body with these rest vertices, posed."""
        layers = []
        for garment in outfit.garments:
            layer = garment.layer(posed)
            if outfit.hat is not None and layer.category[0] == CLASS["Hair"]:
                points = garment.sheet.surface.points
                layer = tuck(layer, np.asarray(points @ posed), points @ outfit.hat)
            layers.append(layer)
        for fitted, texture in outfit.fitted:
            layer = fitted.layer(rest, moves, texture)
            if outfit.hat is not None and layer.category[0] == CLASS["Hair"]:
                scalp = self.scalps[fitted.proxy.name]
                layer = tuck(layer, posed[scalp], outfit.hat[scalp])
            layers.append(layer)
        return layers

    def eyewear(self, rest: NDArray[np.float32], moves: NDArray[np.float32]) -> Layer:
        """Sunglasses: two dark lenses and a bridge that follow the head."""
        rims: list[NDArray[np.float64]] = []
        faces: list[tuple[int, int, int]] = []
        eyes = [rest[eye] for eye in VERTICES]
        for eye in eyes:
            centre, front = eye.mean(0), eye[:, 1].min() - 0.012
            angle = np.linspace(0, 2 * np.pi, 17)[:-1]
            ring = np.stack(
                [centre[0] + 0.028 * np.cos(angle), np.full(16, front), centre[2] + 0.021 * np.sin(angle)], 1
            )
            start = sum(len(r) for r in rims)
            rims.append(np.concatenate([[[centre[0], front, centre[2]]], ring]))
            faces += [(start, start + 1 + k, start + 1 + (k + 1) % 16) for k in range(16)]
        start, (left, right) = sum(len(r) for r in rims), eyes
        top = (left.mean(0)[2] + right.mean(0)[2]) / 2 + 0.006
        y = min(left[:, 1].min(), right[:, 1].min()) - 0.012
        ends = [left.mean(0)[0], right.mean(0)[0]]
        rims.append(
            np.array([[ends[0], y, top], [ends[1], y, top], [ends[1], y, top + 0.006], [ends[0], y, top + 0.006]])
        )
        faces += [(start, start + 1, start + 2), (start, start + 2, start + 3)]
        for eye, sign in ((left, 1.0), (right, -1.0)):  # the temples
            start = sum(len(r) for r in rims)
            x, z = eye.mean(0)[0] + sign * 0.03, eye.mean(0)[2] + 0.006
            back = [x + sign * 0.012, y + 0.11, z]
            rims.append(np.array([[x, y, z - 0.003], back, [back[0], back[1], z + 0.004], [x, y, z + 0.004]]))
            faces += [(start, start + 1, start + 2), (start, start + 2, start + 3)]
        points = np.concatenate(rims).astype(np.float32)
        move = moves[self.body.bone("head")]
        table = np.array(faces, np.int32)
        part = np.where(points[table].mean(1)[:, 0] > 0, 24, 23).astype(np.uint8)
        template = (
            points
            - np.concatenate(eyes).mean(0)
            + np.concatenate([self.body.template[eye] for eye in VERTICES]).mean(0)
        )
        return Layer(
            (points @ move[:, :3].T + move[:, 3]).astype(np.float32),
            table,
            np.zeros((len(table), 3, 2), np.float32),
            np.full(len(table), CLASS["Sunglasses"]),
            part,
            self.atlas.corner_charts(template, table, part),
            fabrics.plain(np.array([22, 20, 20], np.float32)),
        )
