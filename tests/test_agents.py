"""What holds for every agent: one protocol, seeds, spaces, learning; shared parts."""

from dataclasses import replace

import gymnasium
import jax
import jax.numpy as jnp
import line
import numpy as np
import optax
import pytest
from folders import first_is_quick, raw
from gymnasium import spaces
from small import batch_of, create

from crl_mini.agents import AGENTS, crl, td3_her
from crl_mini.agents.base import cloned, polyak
from crl_mini.critic import paired
from crl_mini.envs.play import Wander
from crl_mini.replay import Batch, Replay
from crl_mini.rollouts import rollout, rollouts
from crl_mini.train import updates


def has(name, setting):
    """Does the agent have this setting?"""
    return setting in AGENTS[name].config.__dataclass_fields__


def arrays(agent):
    """All numbers of an agent, random keys too."""
    return [np.asarray(raw(x)) for x in jax.tree.leaves(agent)]


def same(a, b):
    return all((x == y).all() for x, y in zip(arrays(a), arrays(b), strict=True))


@pytest.mark.parametrize("name", first_is_quick(AGENTS))
def test_update_is_deterministic_and_leaves_the_old_agent(name):
    agent = create(name)
    before = [x.copy() for x in arrays(agent)]
    (one, metrics), (again, _) = agent.update(batch_of()), agent.update(batch_of())
    assert type(one) is AGENTS[name][0]
    assert same(one, again)
    assert not same(one, agent)
    assert all((x == y).all() for x, y in zip(before, arrays(agent), strict=True))
    assert int(one.step) == 1
    assert "loss" in metrics
    assert all(m.shape == () and np.isfinite(m) for m in metrics.values())
    other, _ = agent.update(batch_of(seed=1))
    assert not same(one, other)


@pytest.mark.parametrize("name", AGENTS)
def test_one_seed_repeats_and_two_differ(name):
    assert same(create(name, 0), create(name, 0))
    networks = [jax.tree.leaves(create(name, seed).actor) for seed in (0, 1)]
    assert any((x != y).any() for x, y in zip(*networks, strict=True))


@pytest.mark.parametrize("name", AGENTS)
def test_acting_is_batched_within_bounds_and_repeats(name):
    low, high = np.float32([-3, 0]), np.float32([1, 5])
    agent = create(name, action=spaces.Box(low, high))
    s, g = jax.random.uniform(jax.random.key(0), (2, 500, 2), minval=-1)
    one, again, other = (agent.act(s, g, key=jax.random.key(k)) for k in (1, 1, 2))
    greedy = [agent.act(s, g, key=jax.random.key(k), greedy=True) for k in (1, 2)]
    np.testing.assert_array_equal(one, again)
    np.testing.assert_array_equal(*greedy)
    assert (one != other).any()
    assert one.shape == (500, 2)
    for a in (one, greedy[0]):
        assert (a >= low).all()
        assert (a <= high).all()
    assert greedy[0].std(0).min() > 0


@pytest.mark.parametrize("name", first_is_quick(AGENTS))
def test_pictures_as_goals_of_other_observations(name):
    picture = spaces.Box(0, 255, (4, 4, 3), np.uint8)
    agent = create(name, goal=picture)
    g = np.random.default_rng(0).integers(256, size=(2, 32, 4, 4, 3), dtype=np.uint8)
    batch = batch_of()._replace(g=jnp.asarray(g[0]), next_g=jnp.asarray(g[1]))
    updated, metrics = agent.update(batch)
    assert all(np.isfinite(x).all() for x in arrays(updated))
    assert np.isfinite(metrics["loss"])
    assert agent.act(batch.s, batch.g, key=jax.random.key(0)).shape == (32, 2)


FRAME = spaces.Box(0, 255, (16, 16, 3), np.uint8)


def frames_of(n=32, seed=0):
    rng = np.random.default_rng(seed)
    s, g, next_s = rng.integers(0, 256, (3, n, *FRAME.shape), np.uint8)
    a = rng.uniform(-1, 1, (n, 2)).astype(np.float32)
    return Batch(*map(jnp.asarray, (s, a, g, next_s, next_s)))


SEEING = [(name, {}) for name in AGENTS]
OTHERS = [(name, {"tower": "conv", "shift": 2}) for name in AGENTS]
OTHERS += [(name, {"actor_tower": True}) for name in AGENTS if has(name, "actor_tower")]


@pytest.mark.parametrize(("name", "settings"), first_is_quick([*SEEING, *OTHERS]))
def test_every_agent_sees(name, settings):
    cloning = {"bc": 0.5} if has(name, "bc") else {}
    agent = create(name, observation=FRAME, **cloning, **settings)
    (one, metrics), (again, _) = (agent.update(frames_of()) for _ in range(2))
    assert same(one, again)
    assert all(np.isfinite(x).all() for x in metrics.values())
    old, new = (jax.tree.leaves_with_path(x) for x in (agent, one))
    pairs = zip(old, new, strict=True)
    moved = {jax.tree_util.keystr(at) for (at, x), (_, y) in pairs if (x != y).any()}
    eyes = ["critic"] if hasattr(agent, "critic") else ["actor"]
    eyes += ["actor"] if settings.get("actor_tower") else []
    for network in eyes:
        assert any(f".{network}" in path and "eyes" in path for path in moved)
    b = frames_of(seed=1)
    acts = [agent.act(b.s, g, key=jax.random.key(0)) for g in (b.g, b.next_g)]
    assert acts[0].shape == (32, 2)
    assert (acts[0] != acts[1]).any()


@pytest.mark.slow
@pytest.mark.parametrize("actor_tower", [False, True])
def test_the_actor_of_td3_has_the_critics_features_or_pictures(actor_tower):
    """Its step against a plain form, and its actions, in the target's q as well."""
    agent = create("td3_her", observation=FRAME, bc=0.5, actor_tower=actor_tower)
    batch = frames_of()
    g = td3_her.relabel(batch.g, 0.5)

    def seen(actor, *pictures):
        """The actor's features of states and goals."""
        return actor.see(*(pictures if actor_tower else agent.critic.see(*pictures)))

    def by_hand(actor):
        q = agent.critic(batch.s, actor.mode(seen(actor, batch.s, g)), g)[0]
        gap = ((actor.center(seen(actor, batch.s, batch.g)) - batch.a) ** 2).mean()
        return 0.5 * gap - 0.5 * q.mean() / jax.lax.stop_gradient(abs(q).mean())

    want = jax.grad(by_hand)(agent.actor)
    _, got = agent.update(batch)[0].optimizer[0].mu  # a tenth of the gradients
    for x, y in zip(*map(jax.tree.leaves, (got, want)), strict=True):
        np.testing.assert_allclose(10 * x, y, rtol=1e-3, atol=1e-5)
    key, noise = jax.random.key(1), {"std": 0.2, "clip": 0.5}
    a = agent.actor.noisy(seen(agent.actor, batch.next_s, g), key=key, **noise)
    want = agent.critic(batch.next_s, a, g)
    np.testing.assert_allclose(agent.next_q(batch, key=key), want, atol=1e-5)
    for greedy in (True, False):
        std = 0.0 if greedy else agent.config.exploration
        want = agent.actor.noisy(seen(agent.actor, batch.s, g), key=key, std=std)
        got = agent.act(batch.s, g, key=key, greedy=greedy)
        np.testing.assert_allclose(got, want, atol=1e-5)


@pytest.mark.parametrize("name", sorted(AGENTS))
def test_exploration_is_noise_on_the_mode_and_without_it_a_draw(name):
    s, g = jax.random.uniform(jax.random.key(0), (2, 4000, 2), minval=-0.9, maxval=0.9)
    agents = [create(name, exploration=std) for std in (0.0, 0.02)]
    key, (drawing, noisy) = jax.random.key(1), agents
    mode = noisy.act(s, g, key=key, greedy=True)
    np.testing.assert_array_equal(mode, drawing.act(s, g, key=key, greedy=True))
    inside = abs(mode).max(1) < 0.9  # where the bounds do not interfere
    assert inside.sum() > 1000
    noise = (noisy.act(s, g, key=key) - mode)[inside]
    np.testing.assert_allclose(noise.std(), 0.02, rtol=0.05)
    if name != "td3_her":  # it has nothing to draw from
        mode = drawing.actor.sample(*drawing.actor(s, g), key=key)[0]
    np.testing.assert_allclose(drawing.act(s, g, key=key), mode, atol=1e-6)


@pytest.mark.parametrize("name", ["crl", "c_learning"])
@pytest.mark.parametrize("greedy", [False, True])
def test_with_proposals_the_critic_takes_the_best_action(name, greedy):
    batch, key = batch_of(256), jax.random.key(3)
    action = spaces.Box(np.float32([-1, 2]), np.float32([3, 2.5]))
    agent = create(name, action=action, proposals=15).update(batch)[0]
    alone = replace(agent, config=replace(agent.config, proposals=0))
    a = agent.act(batch.s, batch.g, key=key, greedy=greedy)
    own, others = jax.random.split(key)
    actors = alone.act(batch.s, batch.g, key=own, greedy=greedy)
    few = jax.random.uniform(others, (256, 15, 2)) * jnp.array([4, 0.5])
    few += jnp.array([-1, 2])
    candidates = jnp.concatenate([actors[:, None], few], 1)
    f = [
        agent.critic(batch.s, candidates[:, k], batch.g, pairs=paired)
        for k in range(16)
    ]
    best = jnp.argmax(jnp.stack(f), 0)
    np.testing.assert_allclose(a, candidates[jnp.arange(256), best], atol=1e-6)
    assert 0 < (best == 0).mean() < 0.5  # now and then it is the actor's


@pytest.mark.parametrize("name", ["crl", "c_learning"])
@pytest.mark.parametrize("greedy", [False, True])
def test_after_the_steps_of_the_proposals_the_actor_acts(name, greedy):
    batch, how = batch_of(256), {"key": jax.random.key(3), "greedy": greedy}
    agent = create(name, proposals=15, proposal_steps=2)
    for step in range(4):
        alone, always = (
            replace(agent, config=replace(agent.config, proposals=n, proposal_steps=0))
            for n in (0, 15)
        )
        own, best = (each.act(batch.s, batch.g, **how) for each in (alone, always))
        assert abs(own - best).max() > 0.1
        assert agent.config.proposals_at(step) == (15 if step < 2 else 0)
        a = agent.act(batch.s, batch.g, **how)
        np.testing.assert_allclose(a, best if step < 2 else own, atol=1e-6)
        agent = agent.update(batch)[0]


@pytest.mark.parametrize("name", ["crl", "c_learning"])
def test_proposals_change_how_an_agent_acts_and_not_how_it_learns(name):
    batch = batch_of()
    (one, seen), (other, too) = (
        create(name, proposals=k).update(batch) for k in (0, 15)
    )
    mu = [optax.tree.get(agent.optimizer, "mu") for agent in (one, other)]
    for x, y in zip(*map(jax.tree.leaves, ((mu[0], seen), (mu[1], too))), strict=True):
        np.testing.assert_allclose(x, y, rtol=1e-5, atol=2e-6)


@pytest.mark.parametrize("actor_tower", first_is_quick([True, False]))
def test_the_actors_loss_leaves_what_the_critic_sees(actor_tower):
    """None of its gradient reaches the critic's tower, and none is missing."""
    agent = create("crl", observation=FRAME, actor_tower=actor_tower)
    batch = frames_of()
    assert (agent.actor.eyes is None) == (not actor_tower)
    updated, _ = agent.update(batch)
    _, key = jax.random.split(jax.random.fold_in(agent.key, 0))

    def of_critic(critic):
        s, g = critic.see(batch.s, batch.g)
        return crl.critic_loss(critic, batch._replace(s=s, g=g), agent.config)[0]

    down = jax.jit(jax.grad(of_critic))(agent.critic)
    see = agent.critic.see
    s, g = (batch.s, batch.g) if actor_tower else see(batch.s, batch.g)

    def by_hand(actor):
        """The original's form: everything anew, all 2B x 2B logits."""
        rows = [(i, i) for i in range(32)] + [(i, i - 1) for i in range(32)]
        at, to = np.array(rows).T
        a, _ = actor.sample(*actor(s[at], g[to]), key=key)
        f = jnp.diag(agent.critic(batch.s[at], a, batch.g[to]))
        return -f.mean()

    up = jax.jit(jax.grad(by_hand))(agent.actor)
    changes, _ = agent.config.adam().update((down, up), agent.optimizer)
    want = optax.apply_updates((agent.critic, agent.actor), changes)
    got = (updated.critic, updated.actor)
    for x, y in zip(*map(jax.tree.leaves, (got, want)), strict=True):
        np.testing.assert_allclose(x, y, atol=2e-5)


@pytest.fixture(scope="module")
def walks():
    """Random walks on a line, where a goal is one of three numbers that are seen."""
    env = gymnasium.make_vec("line:Line-v0", num_envs=100)
    data = rollouts(env, Wander(env.single_action_space, seed=0), 12, 400, seed=0)
    replay = Replay.from_trajectories(data.observations, data.actions, data.achieved)
    return env, replay


LEARN = {"gamma": 0.8, "hidden": (32,), "batch_size": 64, "learning_rate": 0.01}
BY_AGENT = {
    "crl": {"energy": "l2"},
    "td3_her": {"tau": 0.05},
    "c_learning": {"energy": "l2", "tau": 0.05},
}


@pytest.mark.parametrize("name", first_is_quick(AGENTS))
def test_it_learns_where_goals_are_no_observations(name, walks):
    env, replay = walks
    space, action = env.single_observation_space, env.single_action_space
    agent, config = AGENTS[name][:2]
    near = {"success": lambda x, g: abs(x - g)[:, 0] < line.NEAR}
    agent = agent.create(
        config(**LEARN | BY_AGENT.get(name, {})),
        space["observation"],
        action,
        goal_spec=space["achieved_goal"],
        key=jax.random.key(0),
        **(near if AGENTS[name].needs_success else {}),
    )

    def reached(agent):
        def greedy(s, g, key):
            return agent.act(s, g, key=key, greedy=True)

        return rollout(env, greedy, line.LENGTH, seed=1).ever.mean()

    assert reached(agent) < 0.6
    agent, _ = updates(agent, replay, 600, key=jax.random.key(1))
    assert reached(agent) > 0.85


def test_polyak_by_hand():
    slow, fast = {"w": jnp.array([1.0, 2.0])}, {"w": jnp.array([3.0, -2.0])}
    np.testing.assert_allclose(polyak(slow, fast, 0.25)["w"], [1.5, 1.0])


@pytest.mark.parametrize("name", ["td3_her", "c_learning"])
def test_targets_follow_the_networks_of_the_same_step(name):
    agent = create(name, tau=0.1)
    updated, _ = agent.update(batch_of())
    pairs = {
        "td3_her": lambda x: (x.targets, (x.critic, x.actor)),
        "c_learning": lambda x: (x.target, x.critic),
    }[name]
    before, (after, fast) = pairs(agent)[0], pairs(updated)
    assert same(*pairs(agent))
    for old, new, x in zip(*map(arrays, (before, after, fast)), strict=True):
        np.testing.assert_allclose(new, 0.9 * old + 0.1 * x, rtol=1e-5, atol=1e-7)
    assert not same(before, after)


def test_a_share_of_cloning_does_not_depend_on_the_size_of_the_critic():
    def gradient(size):
        def loss(a):
            values = size * (a - jnp.arange(3.0))
            return cloned(-values.mean(), values, a**2, 0.25)

        return jax.grad(loss)(5.0)

    # Values 5, 4, 3: their mean is 4.
    np.testing.assert_allclose(gradient(1.0), 0.75 * -1 / 4 + 0.25 * 10, rtol=1e-6)
    np.testing.assert_allclose(gradient(100.0), gradient(1.0), rtol=1e-6)


@pytest.mark.parametrize("name", AGENTS)
@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"gamma": 1.0}, r"gamma must lie inside \(0, 1\); got 1.0"),
        ({"gamma": 0.0}, r"gamma must lie inside \(0, 1\)"),
        ({"batch_size": 1}, "batch_size must be at least 2"),
        ({"learning_rate": 0.0}, "learning_rate must lie inside"),
        ({"decay_steps": -1}, "decay_steps must be at least 0"),
        ({"hidden": ()}, "hidden must hold one width or more"),
    ],
)
def test_bad_settings_get_one_clear_line(name, setting, message):
    with pytest.raises(ValueError, match=message):
        AGENTS[name][1](**setting)


@pytest.mark.parametrize(
    ("name", "setting", "message"),
    [
        ("td3_her", {"future": 1.1}, r"future must lie in \[0, 1\]; got 1.1"),
        ("td3_her", {"bc": -0.1}, r"bc must lie in \[0, 1\]"),
        ("td3_her", {"tau": 1.0}, r"tau must lie inside \(0, 1\)"),
        ("td3_her", {"smoothing": -1.0}, "smoothing must be at least 0"),
        ("td3_her", {"smoothing_clip": -1.0}, "smoothing_clip must be at least 0"),
        ("gcbc", {"exploration": -1.0}, "exploration must be at least 0"),
        ("c_learning", {"tau": 0.0}, r"tau must lie inside \(0, 1\)"),
        ("c_learning", {"energy": "manhattan"}, "energy must be one of dot, l2, cos"),
        ("c_learning", {"bc": 1.5}, r"bc must lie in \[0, 1\]"),
        ("crl", {"proposals": -1}, "proposals must be at least 0; got -1"),
        ("crl", {"proposals": 2, "proposal_steps": -1}, "proposal_steps must be at"),
        ("crl", {"proposal_steps": 9}, "proposal_steps must be 0 without proposals; g"),
    ],
)
def test_bad_settings_of_one_agent_get_one_clear_line(name, setting, message):
    with pytest.raises(ValueError, match=message):
        AGENTS[name][1](**setting)


@pytest.mark.parametrize("name", ["crl", "c_learning"])
def test_proposals_are_for_continuous_actions(name):
    with pytest.raises(ValueError, match="must be 0 with discrete actions.*; got 2"):
        create(name, action=spaces.Discrete(3), proposals=2)


@pytest.mark.parametrize("name", ["gcbc", "td3_her"])
def test_agents_with_an_actor_alone_refuse_discrete_actions(name):
    with pytest.raises(ValueError, match="action space must be a bounded Box"):
        create(name, action=spaces.Discrete(3))
