"""Pictures of a MuJoCo scene by casting one ray per pixel, without OpenGL.

A picture is a function of the poses of the bodies that move, 28 bytes a body. What does
not move is traced once. All arithmetic is elementwise in JAX: it runs on a CPU and on a
GPU, inside a jitted training step, and the same poses give the same bytes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, UInt8, UInt32

from crl_mini import checks

BACKGROUND = 0xFFFFFF  # colour where a ray meets nothing, 0xBBGGRR
TINY = 1e-12  # instead of a division by zero, where a ray is parallel to a face
SKIN = 1e-5  # metres; a shadow ray starts this far from the surface it leaves

Vector = Sequence[Any] | Array  # x, y, z apart, each a number or a picture (H, W)


class Hit(NamedTuple):
    """What the rays of one picture meet first."""

    depth: Float[Array, "H W"]  # metres in front of the camera's plane; inf: nothing
    geom: Int[Array, "H W"]  # MuJoCo's number of the geom; -1: nothing
    colour: UInt32[Array, "H W"]  # of the geom, in full light, 0xBBGGRR
    cosine: Float[Array, "H W"]  # between the surface's normal and the light; or 0


# --- Shapes. A ray is the points o + t d, in the frame of the geom; a convex shape cuts
# the interval near <= t <= far out of it (near > far: nothing). Also returned: the
# surface's normal at `near`.


def dot(a: Vector, b: Vector):
    """Inner product, with the components apart."""
    return sum(x * y for x, y in zip(a, b, strict=True))


def slab(h, o, d):
    """Where a ray is between two parallel planes at -h and h."""
    d = jnp.where(d == 0, TINY, d)
    middle, half = -o / d, jnp.abs(h / d)
    return middle - half, middle + half


def ball(r, o: Vector, d: Vector):
    """Where a ray is within r of the origin: in a ball, or (x and y only) in a tube."""
    dd = jnp.maximum(dot(d, d), TINY)
    middle = -dot(o, d) / dd
    f = [ok + middle * dk for ok, dk in zip(o, d, strict=True)]  # nearest to the origin
    square = (r * r - dot(f, f)) / dd
    half = jnp.where(square >= 0, jnp.sqrt(jnp.maximum(square, 0)), -jnp.inf)
    return middle - half, middle + half


def at(t, o: Vector, d: Vector) -> Vector:
    """The ray's point at t."""
    return [ok + t * dk for ok, dk in zip(o, d, strict=True)]


def plane(size: Vector, o: Vector, d: Vector):
    """z = 0, seen from above; half-sizes x and y, where 0 means without end."""
    t = -o[2] / jnp.where(d[2] == 0, TINY, d[2])
    x, y, _ = at(t, o, d)
    inside = ((size[0] <= 0) | (jnp.abs(x) <= size[0])) & (
        (size[1] <= 0) | (jnp.abs(y) <= size[1])
    )
    return t, jnp.where(inside & (d[2] < 0), t, -jnp.inf), (0.0, 0.0, 1.0)


def sphere(size: Vector, o: Vector, d: Vector):
    """Radius size[0]."""
    near, far = ball(size[0], o, d)
    return near, far, [x / size[0] for x in at(near, o, d)]


def box(size: Vector, o: Vector, d: Vector):
    """Half-sizes x, y, z: between three pairs of planes."""
    slabs = [slab(*axis) for axis in zip(size, o, d, strict=True)]
    near = jnp.maximum(jnp.maximum(slabs[0][0], slabs[1][0]), slabs[2][0])
    far = jnp.minimum(jnp.minimum(slabs[0][1], slabs[1][1]), slabs[2][1])
    normal = [
        jnp.where(near == entry, -jnp.sign(dk), 0)
        for (entry, _), dk in zip(slabs, d, strict=True)
    ]
    return near, far, normal


def cylinder(size: Vector, o: Vector, d: Vector):
    """Radius and half-length along z: in a tube, and between two planes."""
    r, h, _ = size
    side, cap = ball(r, o[:2], d[:2]), slab(h, o[2], d[2])
    near, far = jnp.maximum(side[0], cap[0]), jnp.minimum(side[1], cap[1])
    x, y, _ = at(near, o, d)
    on_cap = near == cap[0]
    normal = (
        jnp.where(on_cap, 0, x / r),
        jnp.where(on_cap, 0, y / r),
        jnp.where(on_cap, -jnp.sign(d[2]), 0),
    )
    return near, far, normal


def capsule(size: Vector, o: Vector, d: Vector):
    """Radius and half-length along z: a tube, beyond its ends a ball at the end."""
    r, h, _ = size
    near, far = ball(r, o[:2], d[:2])
    end = jnp.clip(o[2] + near * d[2], -h, h)  # a tube's point, or the nearer end
    ends = ball(r, (o[0], o[1], o[2] - end), d)
    on_tube = jnp.abs(end) < h
    near, far = jnp.where(on_tube, near, ends[0]), jnp.where(on_tube, far, ends[1])
    x, y, z = at(near, o, d)
    return near, far, (x / r, y / r, (z - jnp.clip(z, -h, h)) / r)


SHAPES = {"plane": plane, "sphere": sphere, "capsule": capsule}
SHAPES |= {"cylinder": cylinder, "box": box}


# --- A view: five vectors (5, 3). The eye's position; the ray through the picture's
# centre; what one unit to the right and one unit up add to the ray; towards the light.


def from_frame(pose: Float[Array, " 7"], view: Float[Array, "5 3"]):
    """The view in the frame of a pose: shift the eye, turn all by the inverse."""
    view = view.at[0].add(-pose[:3])
    w, axis = pose[3], pose[4:]
    return view + 2 * jnp.cross(axis, jnp.cross(axis, view) - w * view)


@jax.tree_util.register_dataclass
@dataclass(frozen=True, eq=False)
class Geoms:
    """Some of a model's geoms, as they sit on their bodies."""

    kinds: tuple[str, ...] = field(metadata={"static": True})
    numbers: tuple[int, ...] = field(metadata={"static": True})  # MuJoCo's
    rows: tuple[int, ...] = field(metadata={"static": True})  # of their bodies' poses
    poses: Float[Array, "G 7"]  # in the frame of the body
    sizes: Float[Array, "G 3"]
    colours: UInt32[Array, " G"]

    def views(self, poses: Float[Array, "K 7"], view: Float[Array, "5 3"]):
        """The view in the frame of every geom, (G, 5, 3), for the bodies' poses."""
        on_body = jax.vmap(from_frame, (0, None))(poses[np.array(self.rows, int)], view)
        return jax.vmap(from_frame)(self.poses, on_body)

    def trace(self, views: Float[Array, "G 5 3"], xy: Vector, hit: Hit) -> Hit:
        """What the rays through the picture's points meet first: `hit` or a geom."""
        depth, number, colour, cosine = hit
        for g, kind in enumerate(self.kinds):
            eye, centre, right, up, light = views[g]
            d = [centre[k] + xy[0] * right[k] + xy[1] * up[k] for k in range(3)]
            near, far, normal = SHAPES[kind](self.sizes[g], eye, d)
            first = (near <= far) & (near > 0) & (near < depth)
            depth = jnp.where(first, near, depth)
            number = jnp.where(first, self.numbers[g], number)
            colour = jnp.where(first, self.colours[g], colour)
            cosine = jnp.where(first, jnp.maximum(dot(normal, light), 0), cosine)
        return Hit(depth, number, colour, cosine)

    def shade(self, views: Float[Array, "G 5 3"], xy: Vector, depth):
        """Whether a geom stands between the point at `depth` and the light."""
        dark = jnp.zeros(depth.shape, bool)
        for g, kind in enumerate(self.kinds):
            eye, centre, right, up, light = views[g]
            d = [centre[k] + xy[0] * right[k] + xy[1] * up[k] for k in range(3)]
            near, far, _ = SHAPES[kind](self.sizes[g], at(depth, eye, d), light)
            dark |= (near <= far) & (near > SKIN)
        return dark


@jax.tree_util.register_dataclass
@dataclass(frozen=True, eq=False)
class Scene:
    """What pictures are drawn from: read once from a model, then MuJoCo is not needed.

    Drawn are the planes, spheres, capsules, cylinders and boxes of groups 0 to 2 that
    are not fully transparent, in their `rgba`; materials and textures are ignored.
    """

    bodies: tuple[int, ...] = field(metadata={"static": True})
    """The bodies that can move, in the order of the rows of `poses`."""
    shadows: bool = field(metadata={"static": True})
    moving: Geoms
    fixed: Geoms
    fixed_views: Float[Array, "F 5 3"]
    view: Float[Array, "5 3"]
    xy: tuple[Float[Array, "1 W"], Float[Array, "H 1"]]
    background: Hit
    light: Float[Array, "2 3"]
    """Ambient and directional light, red, green and blue."""

    @classmethod
    def of(
        cls,
        model: Any,
        *,
        size: int | tuple[int, int] = 64,
        camera: str = "front",
        shadows: bool = False,
    ) -> Scene:
        """The scene of a `mujoco.MjModel`, seen by a camera that does not move.

        `size` is the height and the width in pixels, or one number for both. The first
        light must be directional; with it and the headlight's ambient light the picture
        is MuJoCo's own, without gloss. Errors: ``ValueError`` for another kind of geom,
        a camera that moves or is unknown, a size below 1.
        """
        import mujoco  # here, so that crl_mini imports beside any MuJoCo, or none

        height, width = (size, size) if isinstance(size, int) else size
        checks.at_least("size", min(height, width), 1)
        cameras = [model.camera(i).name for i in range(model.ncam)]
        checks.one_of("camera", camera, cameras)
        cam = cameras.index(camera)
        if model.body_weldid[model.cam_bodyid[cam]]:
            raise ValueError(f"camera must not move; {camera!r} is on a moving body")
        if not model.nlight or model.light_type[0] != 1:
            raise ValueError("model must have a directional light as its first light")

        data = mujoco.MjData(model)
        mujoco.mj_kinematics(model, data)
        mujoco.mj_comPos(model, data)
        mujoco.mj_camlight(model, data)
        right, up, back = data.cam_xmat[cam].reshape(3, 3).T
        view = [data.cam_xpos[cam], -back, right, up, -data.light_xdir[0]]
        view = jnp.asarray(view, jnp.float32)
        half = np.tan(np.deg2rad(model.cam_fovy[cam]) / 2)  # of the picture's height
        x = (np.arange(width) + 0.5 - width / 2) * 2 * half / height
        y = -(np.arange(height) + 0.5 - height / 2) * 2 * half / height
        xy = (jnp.asarray(x, jnp.float32)[None], jnp.asarray(y, jnp.float32)[:, None])

        bodies = np.flatnonzero(model.body_weldid)
        fixed = _geoms(model, np.flatnonzero(model.body_weldid == 0))
        world = np.concatenate([data.xpos, data.xquat], 1)[model.body_weldid == 0]
        views = fixed.views(jnp.asarray(world, jnp.float32), view)
        nothing = [jnp.full((height, width), x) for x in (jnp.inf, -1, 0, 0.0)]
        nothing[2] = nothing[2].astype(jnp.uint32)
        lights = [
            model.vis.headlight.ambient + model.light_ambient[0],
            model.light_diffuse[0],
        ]
        return cls(
            tuple(bodies.tolist()),
            shadows,
            _geoms(model, bodies),
            fixed,
            views,
            view,
            xy,
            jax.jit(Geoms.trace)(fixed, views, xy, Hit(*nothing)),
            jnp.asarray(lights, jnp.float32),
        )

    def poses(
        self, xpos: Float[np.ndarray, "B N 3"], xquat: Float[np.ndarray, "B N 4"]
    ) -> Float[np.ndarray, "B K 7"]:
        """The poses to draw, out of those of all bodies: all a replay must keep."""
        rows = list(self.bodies)
        both = np.concatenate([xpos[:, rows], xquat[:, rows]], -1)
        return both.astype(np.float32)

    @jax.jit
    def draw(self, poses: Float[Array, "B K 7"]) -> UInt8[Array, "B H W 3"]:
        """Pictures, from the position (metres) and unit quaternion of every body."""
        packed = self._over_images(self._colours, poses)
        return jax.lax.bitcast_convert_type(packed, jnp.uint8)[..., :3]

    @jax.jit
    def trace(
        self, poses: Float[Array, "B K 7"]
    ) -> tuple[Float[Array, "B H W"], Int[Array, "B H W"]]:
        """Depth in metres in front of the camera, and the number of the geom seen.

        Where there is nothing, infinity and -1.
        """
        return self._over_images(lambda views: self._hit(views)[:2], poses)

    def _over_images(self, function, poses):
        checks.shaped("poses", poses, (None, len(self.bodies), 7))
        views = jax.vmap(self.moving.views, (0, None))(poses, self.view)
        views = jax.lax.optimization_barrier(views)
        if jax.default_backend() == "cpu":
            return jax.lax.map(function, views)
        return jax.vmap(function)(views)

    def _hit(self, views):
        return self.moving.trace(views, self.xy, self.background)

    def _colours(self, views):
        hit = self._hit(views)
        lit = hit.cosine
        if self.shadows:
            dark = self.moving.shade(views, self.xy, hit.depth)
            dark |= self.fixed.shade(self.fixed_views, self.xy, hit.depth)
            lit = jnp.where(dark, 0, lit)
        packed = 0
        for k in range(3):
            level = ((hit.colour >> 8 * k) & 255) * (
                self.light[0, k] + self.light[1, k] * lit
            )
            packed |= jnp.clip(jnp.round(level), 0, 255).astype(jnp.uint32) << 8 * k
        return jnp.where(hit.geom < 0, jnp.uint32(BACKGROUND), packed)


def _geoms(model: Any, bodies: np.ndarray) -> Geoms:
    """The visible geoms of some bodies."""
    import mujoco

    visible = (model.geom_group < 3) & (model.geom_rgba[:, 3] > 0)
    numbers = np.flatnonzero(visible & np.isin(model.geom_bodyid, bodies))
    kinds = []
    for g in numbers:
        kind = mujoco.mjtGeom(int(model.geom_type[g])).name.removeprefix("mjGEOM_")
        name = model.geom(g).name
        checks.one_of(f"the type of geom {name!r}", kind.lower(), SHAPES)
        kinds.append(kind.lower())
    rgb = np.round(model.geom_rgba[numbers, :3] * 255).astype(np.uint32)
    poses = np.concatenate([model.geom_pos, model.geom_quat], 1)[numbers]
    return Geoms(
        tuple(kinds),
        tuple(numbers.tolist()),
        tuple(np.searchsorted(bodies, model.geom_bodyid[numbers]).tolist()),
        jnp.asarray(poses, jnp.float32),
        jnp.asarray(model.geom_size[numbers], jnp.float32),
        jnp.asarray(rgb @ np.array([1, 1 << 8, 1 << 16], np.uint32)),
    )
