"""Pictures against MuJoCo's own rays, its renderer, and brute force."""

import copy
import dataclasses
import os
import subprocess
import sys
from collections import Counter
from functools import lru_cache

import jax
import jax.numpy as jnp
import jaxtyping
import numpy as np
import pytest
from folders import first_is_quick
from jax.extend.core import jaxprs_in_params

from crl_mini.envs import tabletop
from crl_mini.envs.pixels import Scene

mujoco = pytest.importorskip("mujoco", minversion="4")
from mujoco.batch import Batch  # noqa: E402

VISIBLE = np.array([1, 1, 1, 0, 0, 0], np.uint8)  # geom groups
CASTING = np.array([1, 1, 0, 0, 0, 0], np.uint8)
AMBIENT = np.array([0.4, 0.35, 0.3])
DIRECTED = np.array([1.1, 0.55, 0.6])  # more red light than a picture can hold
N = 200

# Every shape, fixed and moving, offset and turned on its body; a plane with an end and
# one without, which leaves sky; bodies on bodies. The camera `down` looks along a
# cylinder's axis and, in a picture of odd width, along the faces of a box.
# One box is behind the camera `front`.
ZOO = """
<mujoco>
  <compiler angle="degree"/>
  <worldbody>
    <light directional="true" dir="-0.3 0.4 -1"/>
    <camera name="front" pos="0 -0.7 0.3" xyaxes="1 0 0 0 0.2 0.9"/>
    <camera name="down" pos="0.1 0.05 0.9" zaxis="0 0 1"/>
    <geom type="plane" size="0 0 1" rgba="0.8 0.8 0.7 1"/>
    <geom type="plane" size="0.2 0.1 1" pos="-0.3 0.2 0.1" euler="20 30 0"
          rgba="0.2 0.8 0.7 1"/>
    <geom type="cylinder" size="0.11 0.1" pos="0.1 0.05 -0.05" rgba="0.2 0.3 0.7 1"/>
    <geom type="box" size="0.1 0.2 0.05" pos="-0.5 0.3 0.1" euler="0 0 30"/>
    <geom type="box" size="0.2 0.2 0.2" pos="0 -1.4 0.3"/>
    <geom type="box" size="0.03 0.02 0.02" pos="0.1 0.12 0.07"/>
    <geom type="box" size="0.06 0.06 0.01" pos="-0.15 -0.2 0.2" group="2"/>
    <geom type="ellipsoid" size="1 2 3" group="3"/>
    <geom type="ellipsoid" size="1 2 3" rgba="1 0 0 0"/>
    <body pos="0.1 0.13 0">
      <geom type="sphere" size="0.1" pos="0.3 0 0.1" rgba="0.9 0.3 0.2 1"/>
      <geom type="capsule" size="0.05 0.2" pos="-0.2 0 0.4" euler="0 70 0"/>
    </body>
    <body>
      <freejoint/>
      <geom type="cylinder" size="0.1 0.05" pos="0.1 0 0" euler="50 0 0"/>
      <geom type="sphere" size="0.07" pos="-0.1 0 0" rgba="0.9 0.9 0.2 1"/>
      <geom type="sphere" size="0.05" pos="-0.2 -0.2 0.1" group="2"/>
      <body pos="0 0.1 0.1" euler="0 40 0">
        <geom type="capsule" size="0.04 0.1" rgba="0.1 0.6 0.3 1"/>
      </body>
    </body>
    <body>
      <freejoint/>
      <geom type="box" size="0.1 0.08 0.03" euler="10 20 30" rgba="0.6 0.1 0.6 1"/>
    </body>
  </worldbody>
</mujoco>
"""


@lru_cache
def model_of(name):
    """A task's model, or the zoo, under lights whose three colours differ."""
    if name == "zoo":
        model = mujoco.MjModel.from_xml_string(ZOO)
    else:
        model = copy.copy(tabletop.TASKS[name].model)
    head = model.vis.headlight
    head.ambient, head.diffuse, head.specular = AMBIENT, 0, 0
    model.light_ambient, model.light_diffuse, model.light_specular = 0, DIRECTED, 0
    return model


def random_qpos(model, n=N, seed=0):
    """Joints anywhere in their range; free bodies anywhere, turned anyhow."""
    rng = np.random.default_rng(seed)
    qpos = np.tile(model.qpos0, (n, 1))
    for j, start in enumerate(model.jnt_qposadr):
        if model.jnt_type[j] == 0:  # free
            low, high = (-0.17, -0.13, 0), (0.17, 0.13, 0.25)
            qpos[:, start : start + 3] = rng.uniform(low, high, (n, 3))
            turn = rng.normal(size=(n, 4))
            turn /= np.linalg.norm(turn, axis=1, keepdims=True)
            qpos[:, start + 3 : start + 7] = turn
        else:
            qpos[:, start] = rng.uniform(*model.jnt_range[j], n)
    return qpos


def poses_of(scene, model, qpos):
    data, xpos, xquat = mujoco.MjData(model), [], []
    for row in qpos:
        data.qpos = row
        mujoco.mj_kinematics(model, data)
        xpos.append(data.xpos.copy())
        xquat.append(data.xquat.copy())
    return scene.poses(np.array(xpos), np.array(xquat))


def eye_and_rays(model, camera, height, width):
    """The eye, and for each pixel the ray that goes one metre along the axis."""
    data = mujoco.MjData(model)
    mujoco.mj_forward(model, data)
    c = model.camera(camera).id
    half = np.tan(np.deg2rad(model.cam_fovy[c]) / 2)
    rays = []
    for i in range(height):
        for j in range(width):
            right = half * (2 * j + 1 - width) / height
            up = half * (height - 1 - 2 * i) / height
            rays.append(data.cam_xmat[c].reshape(3, 3) @ (right, up, -1))
    return data.cam_xpos[c], np.array(rays), -data.light_xdir[0]


def by_mujoco(model, qpos, camera, shape):
    """Depth, geom, colour and whether in the shade, by MuJoCo's rays: (N, H, W)."""
    eye, rays, light = eye_and_rays(model, camera, *shape)
    batch = Batch(model, len(qpos))
    batch.bind("qpos")[:] = qpos
    depth, geom, normal = batch.ray(eye, rays, geomgroup=VISIBLE, normal=True)
    cosine = np.maximum(normal @ light, 0)
    points = eye + depth[..., None] * rays + 1e-5 * (normal + light)
    dark = batch.ray(points, light, geomgroup=CASTING)[1] >= 0
    dark &= (geom >= 0) & (cosine > 0)
    shape = (len(qpos), *shape)
    return (x.reshape(*shape, *x.shape[2:]) for x in (depth, geom, cosine, dark))


def shaded(model, geom, cosine):
    """Lambert's law, in 64 bits: (N, H, W, 3)."""
    light = AMBIENT + DIRECTED * cosine[..., None]
    levels = np.rint(255 * np.minimum(model.geom_rgba[geom, :3] * light, 1))
    return np.where(geom[..., None] < 0, 255, levels).astype(int)


CASES = first_is_quick((task, "front", (64, 64)) for task in tabletop.TASKS)
CASES += [("zoo", "front", (40, 64)), ("zoo", "down", (41, 65))]


@pytest.mark.parametrize(("name", "camera", "shape"), CASES)
def test_pictures_are_those_of_mujocos_rays(name, camera, shape):
    model = model_of(name)
    qpos = random_qpos(model)
    true_depth, true_geom, cosine, _ = by_mujoco(model, qpos, camera, shape)

    scene = Scene.of(model, size=shape, camera=camera)
    poses = poses_of(scene, model, qpos)
    depth, geom = map(np.asarray, scene.trace(poses))
    same = geom == true_geom
    assert same.mean() > 0.9999
    assert np.isinf(depth[geom < 0]).all()
    seen = same & (geom >= 0)
    error = np.abs(depth - true_depth)[seen]
    assert (error < 1e-4 * np.maximum(true_depth[seen], 1)).all()  # metres; or relative

    levels = np.asarray(scene.draw(poses)).astype(int)
    off = np.abs(levels - shaded(model, true_geom, cosine)).max(-1)
    assert (off > 1).mean() < 0.0001


@pytest.mark.parametrize(("name", "shape"), [("Drawer", (64, 64)), ("zoo", (40, 64))])
def test_shadows_are_those_of_mujocos_rays(name, shape):
    model = model_of(name)
    qpos = random_qpos(model)
    _, geom, cosine, dark = by_mujoco(model, qpos, "front", shape)
    assert 0.01 < dark.mean() < 0.5
    scene = Scene.of(model, size=shape, shadows=True)
    levels = np.asarray(scene.draw(poses_of(scene, model, qpos))).astype(int)
    true = shaded(model, geom, np.where(dark, 0, cosine))
    assert (np.abs(levels - true).max(-1) > 1).mean() < 0.0005


def test_the_same_poses_give_the_same_bytes_in_any_batch():
    model = model_of("BinPick")
    scene = Scene.of(model)
    poses = poses_of(scene, model, random_qpos(model))
    pictures = np.asarray(scene.draw(poses))
    assert len({picture.tobytes() for picture in pictures}) == N
    for size in (1, 7, 64):
        for start in range(0, N - size, 50):
            part = slice(start, start + size)
            assert np.array_equal(scene.draw(poses[part]), pictures[part])
    assert np.array_equal(scene.draw(poses[::-1]), pictures[::-1])


def test_a_body_that_is_nowhere_is_left_out_and_harms_no_other_picture():
    model = model_of("zoo")
    scene = Scene.of(model, size=(40, 64))
    poses = poses_of(scene, model, random_qpos(model))
    lost = poses.copy()
    lost[1, 0] = np.nan
    geom, lost_geom = (np.asarray(scene.trace(p)[1]) for p in (poses, lost))
    assert np.array_equal(np.delete(geom, 1, 0), np.delete(lost_geom, 1, 0))
    of_it = model.geom_bodyid[geom[1]] == scene.bodies[0]
    assert of_it.any()
    assert np.array_equal(geom[1][~of_it], lost_geom[1][~of_it])
    assert not (model.geom_bodyid[lost_geom[1]] == scene.bodies[0]).any()


def small_zoo(bodies):
    """The fixed geoms of the world, and the last of its bodies."""
    spec = mujoco.MjSpec.from_string(ZOO)
    for body in spec.worldbody.bodies[: 3 - bodies]:
        spec.delete(body)
    return spec.compile()


def test_a_scene_where_nothing_moves_is_drawn_too():
    scene = Scene.of(small_zoo(bodies=0), size=16)
    _, geom = scene.trace(np.zeros((2, 0, 7), np.float32))
    assert set(np.unique(geom)) > {0}


def test_it_draws_inside_jit_scan_and_vmap():
    model = small_zoo(bodies=1)
    scene = Scene.of(model, size=16)
    poses = jnp.asarray(poses_of(scene, model, random_qpos(model, 6)))
    pictures = scene.draw(poses)
    split = poses.reshape(3, 2, *poses.shape[1:])

    @jax.jit
    def bright(poses):
        return (scene.draw(poses) / 255).mean((1, 2, 3))

    def step(carry, poses):
        return carry, scene.draw(poses)

    assert jnp.allclose(bright(poses), (pictures / 255).mean((1, 2, 3)), atol=1e-5)
    scanned = jax.jit(lambda poses: jax.lax.scan(step, 0, poses)[1])(split)
    mapped = jax.vmap(scene.draw)(split)
    for other in (scanned, mapped):
        assert np.array_equal(other.reshape(pictures.shape), pictures)


def work_of(jaxpr) -> Counter:
    """What a program computes, with sizes: its own steps and those inside of them."""
    work = Counter()
    for eqn in jaxpr.eqns:
        inner = list(jaxprs_in_params(eqn.params))
        for part in inner:
            work += work_of(part)
        if not inner and eqn.primitive.name != "reshape":
            work[eqn.primitive.name, *(v.aval.size for v in eqn.outvars)] += 1
        work["branches"] += eqn.primitive.name == "cond"
    return work


def test_many_batches_are_drawn_as_one():
    """Under `vmap`, and two of them: the very same work, and its branch is kept."""
    model = small_zoo(bodies=1)
    scene = Scene.of(model, size=16, shadows=True)
    poses = jnp.asarray(poses_of(scene, model, random_qpos(model, 12)))
    split = poses.reshape(3, 2, 2, *poses.shape[1:])
    many = jax.vmap(jax.vmap(scene.draw))
    want, got = (
        work_of(jax.make_jaxpr(f)(x).jaxpr)
        for f, x in ((scene.draw, poses), (many, split))
    )
    assert got == want
    assert got["branches"] == 1
    pictures = scene.draw(poses)
    np.testing.assert_array_equal(many(split).reshape(pictures.shape), pictures)


def test_several_scenes_are_drawn_under_vmap():
    model = small_zoo(bodies=1)
    scene = Scene.of(model, size=16)
    poses = jnp.asarray(poses_of(scene, model, random_qpos(model, 4)))
    lights = jnp.stack([scene.directed, scene.directed / 2])

    def lit(light):
        return dataclasses.replace(scene, directed=light).draw(poses)

    for got, light in zip(jax.vmap(lit)(lights), lights, strict=True):
        np.testing.assert_array_equal(got, lit(light))


def run(code, *args, **env):
    return subprocess.run(
        [sys.executable, "-c", code, *map(str, args)],
        env=os.environ | env,
        capture_output=True,
        text=True,
        check=False,
    )


WITHOUT_GL = """
import sys
import numpy as np
from crl_mini.envs.pixels import Scene
assert "mujoco" not in sys.modules  # crl_mini imports beside any MuJoCo, or none
import mujoco
folder = sys.argv[1]
scene = Scene.of(mujoco.MjModel.from_binary_path(folder + "/model.mjb"))
np.save(folder + "/out.npy", scene.draw(np.load(folder + "/poses.npy")))
assert not [name for name in sys.modules if "OpenGL" in name or "glfw" in name]
"""


def test_it_needs_no_opengl(tmp_path):
    model = model_of("Reach")
    scene = Scene.of(model)
    poses = poses_of(scene, model, random_qpos(model, 2))
    mujoco.mj_saveModel(model, str(tmp_path / "model.mjb"))
    np.save(tmp_path / "poses.npy", poses)
    done = run(WITHOUT_GL, tmp_path, MUJOCO_GL="disabled")
    assert done.returncode == 0, done.stderr
    assert np.array_equal(np.load(tmp_path / "out.npy"), scene.draw(poses))


RENDERER = """
import sys
import mujoco
import numpy as np
folder = sys.argv[1]
model = mujoco.MjModel.from_binary_path(folder + "/model.mjb")
data = mujoco.MjData(model)
renderer = mujoco.Renderer(model, 64, 64)
pictures = []
for shadows in (False, True):
    renderer.scene.flags[mujoco.mjtRndFlag.mjRND_SHADOW] = shadows
    for row in np.load(folder + "/qpos.npy"):
        data.qpos = row
        mujoco.mj_forward(model, data)
        renderer.update_scene(data, "front")
        pictures.append(renderer.render().astype(int))
renderer.close()
np.save(folder + "/out.npy", pictures)
"""


def test_pictures_are_those_of_mujocos_renderer(tmp_path):
    model = copy.copy(model_of("Drawer"))
    model.vis.quality.offsamples = 0  # no blurred edges
    model.light_pos = -model.light_dir  # where OpenGL draws its map of shadows from
    qpos, n = random_qpos(model), 40
    mujoco.mj_saveModel(model, str(tmp_path / "model.mjb"))
    np.save(tmp_path / "qpos.npy", qpos[:n])
    for gl in ("egl", "osmesa"):
        if run(RENDERER, tmp_path, MUJOCO_GL=gl).returncode == 0:
            break
    else:
        pytest.skip("mujoco.Renderer finds no OpenGL (Debian: apt install libosmesa6)")
    without, with_ = np.load(tmp_path / "out.npy").reshape(2, n, 64, 64, 3)
    # A shadow's edge depends on the size of OpenGL's shadow map.
    for shadows, true, share in ((False, without, 0.0005), (True, with_, 0.005)):
        scene = Scene.of(model, shadows=shadows)
        levels = np.asarray(scene.draw(poses_of(scene, model, qpos)))[:n]
        off = np.abs(levels - true).max(-1)
        assert (off > 12).mean() < share
    assert np.abs(with_ - without).mean() > 1


def test_bad_input_is_refused():
    model = model_of("Reach")
    with pytest.raises(ValueError, match="camera must be one of front; got 'back'"):
        Scene.of(model, camera="back")
    for size in (0, (0, 64), (64, -1)):
        with pytest.raises(ValueError, match="size must be at least 1; got"):
            Scene.of(model, size=size)
    scene = Scene.of(model)
    for shape in ((3, 7), (1, 3, 6), (1, 4, 7)):
        jaxtyping.config.update("jaxtyping_disable", True)
        try:
            with pytest.raises(
                ValueError, match=r"poses must have shape \(any, 3, 7\)"
            ):
                scene.draw(np.zeros(shape, np.float32))
        finally:
            jaxtyping.config.update("jaxtyping_disable", False)


@pytest.mark.parametrize(
    ("xml", "message"),
    [
        (
            '<light directional="true"/><camera name="front"/>'
            '<geom name="egg" type="ellipsoid" size="1 1 1"/>',
            "type of geom 'egg' must be one of plane, sphere, capsule, cylinder, box; "
            "got 'ellipsoid'",
        ),
        ('<camera name="front"/>', "model must have a directional light"),
        ('<light/><camera name="front"/>', "model must have a directional light"),
        (
            '<light directional="true"/>'
            '<body><freejoint/><geom size="1"/><camera name="front"/></body>',
            "camera must be one that cannot move; got 'front'",
        ),
    ],
)
def test_models_that_cannot_be_drawn_are_refused(xml, message):
    xml = f"<mujoco><worldbody>{xml}</worldbody></mujoco>"
    model = mujoco.MjModel.from_xml_string(xml)
    with pytest.raises(ValueError, match=message):
        Scene.of(model)
