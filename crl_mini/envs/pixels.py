"""Pictures of a MuJoCo scene: one ray per pixel, in JAX, without OpenGL.

A picture is a function of the poses of the bodies that can move, 28 bytes a body. The
other geoms are traced once. Everything is elementwise arithmetic, so it runs inside a
jitted training step, on a CPU or a GPU, and the same poses give the same bytes.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.custom_batching import custom_vmap
from jaxtyping import Array, Bool, Float, Int, UInt8, UInt32

from crl_mini import checks

NOTHING = 0xFFFFFF  # the colour where a ray hits no geom, 0xBBGGRR
DIRECTIONAL = 1  # mujoco.mjtLightType.mjLIGHT_DIRECTIONAL
TINY = 1e-12  # replaces a divisor of zero, where a ray runs along a face or an axis
FLAT = 2  # the geom group that casts no shadow
SKIN = 1e-5  # metres; a shadow ray ignores hits nearer than this to its surface

# x, y and z as separate entries, each a number or a whole picture (H, W): XLA then
# makes one fast loop over the pixels.
Vector = Sequence[Any] | Array

# --- Shapes. In the frame of its geom a ray is the points o + t d, t > 0. A shape is
# convex: the ray is inside it for near <= t <= far. Each of the five functions returns
# `near`, infinite if the ray misses, and the surface's normal there.


def dot(a: Vector, b: Vector):
    """Inner product."""
    return sum(x * y for x, y in zip(a, b, strict=True))


def at(t, o: Vector, d: Vector) -> Vector:
    """The ray's point at t."""
    return [ok + t * dk for ok, dk in zip(o, d, strict=True)]


def slab(h, o, d):
    """Ends, near and far, of a ray's part between the planes -h and h of one axis."""
    per_d = 1 / jnp.where(d == 0, TINY, d)
    middle, half = -o * per_d, jnp.abs(h * per_d)
    return middle - half, middle + half


def within(r, o: Vector, d: Vector):
    """Ends of a ray's part in a ball of radius r, or, given x and y only, in a tube."""
    per_dd = 1 / jnp.maximum(dot(d, d), TINY)
    middle = -dot(o, d) * per_dd
    closest = at(middle, o, d)
    square = (r * r - dot(closest, closest)) * per_dd
    half = jnp.where(square >= 0, jnp.sqrt(square), -jnp.inf)  # a miss: near > far
    return middle - half, middle + half


def plane(size: Vector, o: Vector, d: Vector):
    """The plane z = 0, visible from above; half-sizes x and y, 0 for an endless one."""
    near = -o[2] / jnp.where(d[2] == 0, TINY, d[2])
    inside = d[2] < 0
    for half, p in zip(size[:2], at(near, o[:2], d[:2]), strict=True):
        inside &= (half <= 0) | (jnp.abs(p) <= half)
    return jnp.where(inside, near, jnp.inf), (0, 0, 1)


def sphere(size: Vector, o: Vector, d: Vector):
    """A ball of radius size[0]."""
    near, _ = within(size[0], o, d)
    return near, [p / size[0] for p in at(near, o, d)]


def box(size: Vector, o: Vector, d: Vector):
    """A box with half-sizes x, y and z: the intersection of three slabs."""
    x, y, z = (slab(*axis) for axis in zip(size, o, d, strict=True))
    near = jnp.maximum(jnp.maximum(x[0], y[0]), z[0])
    far = jnp.minimum(jnp.minimum(x[1], y[1]), z[1])
    entered = [near == axis[0] for axis in (x, y, z)]
    normal = [jnp.where(e, -jnp.sign(dk), 0) for e, dk in zip(entered, d, strict=True)]
    return jnp.where(near <= far, near, jnp.inf), normal


def cylinder(size: Vector, o: Vector, d: Vector):
    """A cylinder, radius and half-length along z: a tube cut by a slab."""
    tube, caps = within(size[0], o[:2], d[:2]), slab(size[1], o[2], d[2])
    near, far = jnp.maximum(tube[0], caps[0]), jnp.minimum(tube[1], caps[1])
    on_cap = near == caps[0]
    normal = [jnp.where(on_cap, 0, p / size[0]) for p in at(near, o[:2], d[:2])]
    normal.append(jnp.where(on_cap, -jnp.sign(d[2]), 0))
    return jnp.where(near <= far, near, jnp.inf), normal


def capsule(size: Vector, o: Vector, d: Vector):
    """A capsule, radius and half-length along z: a tube that ends in two balls."""
    r, h = size[0], size[1]
    tube, _ = within(r, o[:2], d[:2])
    z = o[2] + tube * d[2]
    end = jnp.where(z > 0, h, -h)  # a ray that misses the tube misses this ball too
    ball, _ = within(r, (o[0], o[1], o[2] - end), d)
    on_tube = jnp.abs(z) <= h
    near = jnp.where(on_tube, tube, ball)
    x, y, z = at(near, o, d)
    return near, (x / r, y / r, jnp.where(on_tube, 0, (z - end) / r))


SHAPES = {f.__name__: jax.jit(f) for f in (plane, sphere, capsule, cylinder, box)}

# --- Views. A view is five vectors, (5, 3): the eye's position; the ray through the
# middle of the picture; the ray's change for one unit to the right, and one unit up;
# the direction towards the light.
IS_POINT = np.array([[1.0], [0], [0], [0], [0]], np.float32)  # the rest are directions


def seen_from(
    pose: Float[Array, " 7"], view: Float[Array, "5 3"]
) -> Float[Array, "5 3"]:
    """The view in the frame of a pose (x, y, z, quaternion w, x, y, z)."""
    w, axis = pose[3], pose[4:]
    view = view - IS_POINT * pose[:3]
    return view + 2 * jnp.cross(axis, jnp.cross(axis, view) - w * view)


class Hit(NamedTuple):
    """The first geom that each ray of a picture hits."""

    depth: Float[Array, "H W"]  # metres from the camera, along its axis; inf: no geom
    geom: Int[Array, "H W"]  # MuJoCo's number; -1: no geom
    colour: UInt32[Array, "H W"]  # 0xBBGGRR
    cosine: Float[Array, "H W"]  # of the angle of the light to the normal, at least 0


@jax.tree_util.register_dataclass
@dataclass(frozen=True, eq=False)
class Geoms:
    """G geoms and their poses on their bodies."""

    kinds: tuple[str, ...] = field(metadata={"static": True})
    numbers: tuple[int, ...] = field(metadata={"static": True})  # MuJoCo's
    rows: tuple[int, ...] = field(metadata={"static": True})  # of their bodies' poses
    casts: tuple[bool, ...] = field(metadata={"static": True})  # a shadow?
    poses: Float[Array, "G 7"]  # in the frames of their bodies
    sizes: Float[Array, "G 3"]  # half-sizes or radii, metres
    colours: UInt32[Array, " G"]

    @classmethod
    def on(cls, bodies: Bool[np.ndarray, " N"], model: Any) -> Geoms:
        """The visible geoms of the marked ones of the model's N bodies."""
        import mujoco

        visible = (model.geom_group < 3) & (model.geom_rgba[:, 3] > 0)
        numbers = np.flatnonzero(visible & bodies[model.geom_bodyid])
        rows = (np.cumsum(bodies) - 1)[model.geom_bodyid[numbers]]
        kinds = []
        for g in numbers:
            kinds.append(mujoco.mjtGeom(int(model.geom_type[g])).name[7:].lower())
            checks.one_of(f"type of geom {model.geom(g).name!r}", kinds[-1], SHAPES)
        rgb = np.rint(model.geom_rgba[numbers, :3] * 255).astype(np.uint32)
        return cls(
            tuple(kinds),
            tuple(numbers.tolist()),
            tuple(rows.tolist()),
            tuple((model.geom_group[numbers] < FLAT).tolist()),
            poses=_float(np.hstack([model.geom_pos, model.geom_quat])[numbers]),
            sizes=_float(model.geom_size[numbers]),
            colours=jnp.asarray(rgb[:, 0] | rgb[:, 1] << 8 | rgb[:, 2] << 16),
        )

    def views(
        self, poses: Float[Array, "K 7"], view: Float[Array, "5 3"]
    ) -> Float[Array, "G 5 3"]:
        """The view in the frame of each geom, from the poses of the bodies."""
        poses = poses[np.array(self.rows, int)]
        on_bodies = jax.vmap(seen_from, (0, None))(poses, view)
        return jax.vmap(seen_from)(self.poses, on_bodies)

    def rays(self, views: Float[Array, "G 5 3"], x, y) -> Iterator[tuple]:
        """For each geom in its frame: number, eye, rays through (x, y), light."""
        for g, (eye, middle, right, up, light) in enumerate(views):
            d = [middle[k] + x * right[k] + y * up[k] for k in range(3)]
            yield g, eye, d, light

    def trace(self, views: Float[Array, "G 5 3"], x, y, hit: Hit) -> Hit:
        """The first hit of the rays through (x, y): one of the geoms, or `hit`."""
        for g, eye, d, light in self.rays(views, x, y):
            near, normal = SHAPES[self.kinds[g]](self.sizes[g], eye, d)
            cosine = jnp.maximum(dot(normal, light), 0)
            new = Hit(near, self.numbers[g], self.colours[g], cosine)
            first = (near > 0) & (near < hit.depth)
            hit = Hit(*(jnp.where(first, *ab) for ab in zip(new, hit, strict=True)))
        return hit

    def shade(
        self, views: Float[Array, "G 5 3"], x, y, depth: Float[Array, "H W"]
    ) -> Bool[Array, "H W"]:
        """Whether a geom stands between the light and the ray's point at `depth`."""
        dark = jnp.zeros(depth.shape, bool)
        for g, eye, d, light in self.rays(views, x, y):
            if not self.casts[g]:
                continue
            near, _ = SHAPES[self.kinds[g]](self.sizes[g], at(depth, eye, d), light)
            dark |= (near > SKIN) & (near < jnp.inf)
        return dark


@jax.tree_util.register_dataclass
@dataclass(frozen=True, eq=False)
class Scene:
    """A model's visible geoms, camera and light: everything that `draw` needs.

    It renders the planes, spheres, capsules, cylinders and boxes of the geom groups 0
    to 2, in their `rgba` unless that is fully transparent; no textures, no gloss. Those
    of group 2 cast no shadow: it is for grounds, which have nothing beneath them.
    """

    bodies: tuple[int, ...] = field(metadata={"static": True})
    """MuJoCo's numbers of the K bodies that can move, in the order of `poses`."""
    shadows: bool = field(metadata={"static": True})
    moving: Geoms
    fixed: Geoms
    view: Float[Array, "5 3"]
    x: Float[Array, "1 W"]
    y: Float[Array, "H 1"]
    ambient: Float[Array, " 3"]
    """Light from everywhere: red, green, blue."""
    directed: Float[Array, " 3"]
    """Light from one direction: red, green, blue."""
    fixed_views: Float[Array, "F 5 3"]
    fixed_hit: Hit

    @classmethod
    def of(
        cls,
        model: Any,
        *,
        size: int | tuple[int, int] = 64,
        camera: str = "front",
        shadows: bool = False,
    ) -> Scene:
        """The scene of a `mujoco.MjModel`, seen by a camera that cannot move.

        `size` is the height and the width in pixels, or one number for both. The light
        is the model's first, which must be directional, and the headlight's ambient
        part; without `shadows` it shines through everything. Errors: ``ValueError`` for
        a visible geom of another type, an unknown or moving camera, another light, a
        size below 1.
        """
        import mujoco  # not at the top: crl_mini imports without it

        height, width = (size, size) if isinstance(size, int) else size
        checks.at_least("size", min(height, width), 1)
        if not model.nlight or model.light_type[0] != DIRECTIONAL:
            raise ValueError("model must have a directional light as its first light")
        headlight = model.vis.headlight.ambient * bool(model.vis.headlight.active)

        data = mujoco.MjData(model)
        mujoco.mj_fwdPosition(model, data)
        view, fovy = _view(model, data, camera)
        pixel = 2 * np.tan(np.deg2rad(fovy) / 2) / height
        x = _float(pixel * (np.arange(width) - (width - 1) / 2))[None]
        y = _float(pixel * ((height - 1) / 2 - np.arange(height)))[:, None]

        can_move = model.body_weldid != 0
        moving, fixed = Geoms.on(can_move, model), Geoms.on(~can_move, model)
        poses = _float(np.hstack([data.xpos, data.xquat])[~can_move])
        fixed_views = jax.jit(Geoms.views)(fixed, poses, view)
        nothing = (jnp.inf, -1, jnp.uint32(NOTHING), 0.0)
        nothing = Hit(*(jnp.full((height, width), a) for a in nothing))
        return cls(
            bodies=tuple(np.flatnonzero(can_move).tolist()),
            shadows=shadows,
            moving=moving,
            fixed=fixed,
            view=view,
            x=x,
            y=y,
            ambient=_float(headlight + model.light_ambient[0]),
            directed=_float(model.light_diffuse[0]),
            fixed_views=fixed_views,
            fixed_hit=jax.jit(Geoms.trace)(fixed, fixed_views, x, y, nothing),
        )

    def poses(
        self, xpos: Float[np.ndarray, "B N 3"], xquat: Float[np.ndarray, "B N 4"]
    ) -> Float[np.ndarray, "B K 7"]:
        """Poses of the moving bodies, as `draw` takes them, from `xpos` and `xquat`."""
        rows = list(self.bodies)
        both = np.concatenate([xpos[:, rows], xquat[:, rows]], -1)
        return both.astype(np.float32)

    @jax.jit
    def draw(self, poses: Float[Array, "B K 7"]) -> UInt8[Array, "B H W 3"]:
        """Render pictures, in red, green and blue, of the bodies' poses.

        A body whose pose is not finite is left out; if no pose of the batch is finite,
        all pictures are black. Under `vmap` all batches are drawn as one.
        """
        arrays, form = jax.tree.flatten(self)
        return _drawing(form)(arrays, poses)

    @jax.jit
    def trace(
        self, poses: Float[Array, "B K 7"]
    ) -> tuple[Float[Array, "B H W"], Int[Array, "B H W"]]:
        """Depth in metres along the camera's axis, and geom; inf and -1 for none."""
        return self._each(lambda views: self._hit(views)[:2], poses)

    def _each(self, picture, poses):
        """Apply `picture` to the views of every entry, as one loop over all pixels.

        XLA merges no work across a branch. Without this branch it would merge the loop
        with the code that uses the pictures, and run it several times.
        """
        checks.shaped("poses", poses, (None, len(self.bodies), 7))
        views = jax.vmap(self.moving.views, (0, None))(poses, self.view)
        pictures = jax.jit(jax.vmap(picture))

        def black(views):
            return jax.tree.map(jnp.zeros_like, jax.eval_shape(pictures, views))

        drawable = jnp.isfinite(poses).any() | (poses.size == 0)  # none can move
        return jax.lax.cond(drawable, pictures, black, views)

    def _hit(self, views: Float[Array, "G 5 3"]) -> Hit:
        return self.moving.trace(views, self.x, self.y, self.fixed_hit)

    def _picture(self, views: Float[Array, "G 5 3"]) -> UInt32[Array, "H W"]:
        """A picture by Lambert's law: ambient light, directed light times cosine."""
        hit = self._hit(views)
        lit = hit.cosine
        if self.shadows:
            dark = self.moving.shade(views, self.x, self.y, hit.depth)
            dark |= self.fixed.shade(self.fixed_views, self.x, self.y, hit.depth)
            lit = jnp.where(dark, 0, lit)
        packed = 0
        for k in range(3):
            colour = (hit.colour >> 8 * k) & 255
            level = colour * (self.ambient[k] + self.directed[k] * lit)
            packed |= jnp.rint(jnp.minimum(level, 255)).astype(jnp.uint32) << 8 * k
        return jnp.where(hit.depth < jnp.inf, packed, hit.colour)


def _drawing(form):
    """`Scene.draw` as a function of the arrays of a scene of this form, and of poses.

    Under `vmap` it draws the pictures of all batches in one pass. Otherwise the branch
    in `_each`, which must stay, would become a select.
    """

    @custom_vmap
    def draw(arrays, poses: Float[Array, "B K 7"]) -> UInt8[Array, "B H W 3"]:
        scene = jax.tree.unflatten(form, arrays)
        packed = scene._each(scene._picture, poses)
        return jax.lax.bitcast_convert_type(packed, jnp.uint8)[..., :3]

    @draw.def_vmap
    def draw_all(n: int, mapped, arrays, poses):
        if any(mapped[0]):  # several scenes
            axes = jax.tree.map(lambda x: 0 if x else None, tuple(mapped))
            return jax.vmap(draw.fun, axes)(arrays, poses), True
        b, *pose = poses.shape[1:]
        pictures = draw(arrays, poses.reshape(n * b, *pose))
        return pictures.reshape(n, b, *pictures.shape[1:]), True

    return draw


def _view(model: Any, data: Any, camera: str) -> tuple[Float[Array, "5 3"], float]:
    """The view in the world, and the picture's height as an angle in degrees."""
    names = [model.camera(i).name for i in range(model.ncam)]
    checks.one_of("camera", camera, names)
    c = names.index(camera)
    if model.body_weldid[model.cam_bodyid[c]] != 0:
        raise ValueError(f"camera must be one that cannot move; got {camera!r}")
    right, up, back = data.cam_xmat[c].reshape(3, 3).T
    view = [data.cam_xpos[c], -back, right, up, -data.light_xdir[0]]
    return _float(view), float(model.cam_fovy[c])


def _float(array: Any) -> Float[Array, ...]:
    return jnp.asarray(np.asarray(array), jnp.float32)
