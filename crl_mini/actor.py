"""Goal-conditioned policies: a deterministic one, and a Gaussian squashed by tanh."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray, Shaped

from crl_mini.encoders import MLP, Seeing
from crl_mini.specs import Spec

LOG_STD = (-5.0, 2.0)  # bounds of the log standard deviation before tanh
EDGE = 0.999  # actions beyond it count as clipped


def tanh_gaussian_log_prob(
    u: Float[Array, "*B A"], mean: Float[Array, "*B A"], log_std: Float[Array, "*B A"]
) -> Float[Array, "*B"]:
    """Log density of a = tanh(u), u ~ N(mean, std^2), in nats, stable for large u.

    Source: :eq:`tanh-gaussian`; Haarnoja et al. (2018), Appendix C.
    """
    gauss = jax.scipy.stats.norm.logpdf(u, mean, jnp.exp(log_std))
    squash = 2 * (jnp.log(2.0) - u - jax.nn.softplus(-2 * u))  # log(1 - tanh(u)^2)
    return (gauss - squash).sum(-1)


def clipped_log_prob(
    a: Float[Array, "*B A"], mean: Float[Array, "*B A"], log_std: Float[Array, "*B A"]
) -> Float[Array, "*B"]:
    """Log density of actions in [-1, 1], some of which may have been clipped to it.

    An entry beyond +-`EDGE` stands for the whole tail: its density is the mean over the
    tail. Without that, an action of 1 would be the tanh of a huge number, and a few of
    them would pull the Gaussian apart.

    Source: :eq:`clipped-action`; as in the code released with Eysenbach et al. (2022).
    """
    u, edge = jnp.arctanh(jnp.clip(a, -EDGE, EDGE)), jnp.arctanh(EDGE)
    inside = tanh_gaussian_log_prob(*(x[..., None] for x in (u, mean, log_std)))
    tail = jax.scipy.special.log_ndtr((jnp.sign(a) * mean - edge) / jnp.exp(log_std))
    tail -= jnp.log1p(-EDGE)
    return jnp.where(jnp.abs(a) < EDGE, inside, tail).sum(-1)


class Policy(Seeing):
    """mu(s, g): a network whose tanh is an action, rescaled to the space's bounds.

    Goals are observations unless `goal` says otherwise. `mlp` holds `hidden` and
    `layer_norm` of the `MLP`.
    """

    outputs = 1  # numbers that the network gives for each entry of an action

    def __init__(
        self, observation: Spec, action: Spec, goal=None, *, tower="patch", rngs, **mlp
    ):
        if not action.low:
            raise ValueError(f"the action space must be a bounded Box; got {action}")
        super().__init__(observation, goal, tower, stacked=2, rngs=rngs)
        self.action = action
        d_in = self.observation.size  # of two pictures together
        d_in += self.goal.size if self.eyes is None else 0
        self.tower = MLP(d_in, d_out=self.outputs * action.size, rngs=rngs, **mlp)

    def see(self, s, g) -> Float[Array, "B F"]:
        """Features of states and goals side by side; a tower sees the two stacked."""
        if self.eyes is None:
            return jnp.concatenate(super().see(s, g), axis=-1)
        return self.eyes(jnp.concatenate([s, g], axis=-1))

    def view(self, pictures, features) -> Float[Array, "B F"]:
        """Features of `pictures` (s, g), or without a tower the critic's `features`."""
        if self.eyes is None:
            return jnp.concatenate(features, axis=-1)
        return self.see(*pictures)

    def __call__(self, s, g) -> Float[Array, "B A"]:
        """Actions in [-1, 1] for states and goals."""
        return self.center(self.see(s, g))

    def center(self, x: Float[Array, "B F"]) -> Float[Array, "B A"]:
        """Actions in [-1, 1] without noise: tanh of the first A outputs."""
        return jnp.tanh(self.tower(x)[:, : self.action.size])

    def scaled(self, a: Float[Array, "B A"]) -> Float[Array, "B A"]:
        """From [-1, 1] to the action space's bounds."""
        low, high = jnp.array(self.action.low), jnp.array(self.action.high)
        return low + (a + 1) * (high - low) / 2

    def mode(self, x: Float[Array, "B F"]) -> Float[Array, "B A"]:
        """The action without noise."""
        return self.scaled(self.center(x))

    def noisy(self, x, *, key: PRNGKeyArray, std: float, clip: float = jnp.inf):
        """The mode (B, A) plus Gaussian noise in units of [-1, 1], at most `clip`."""
        a = self.center(x)
        noise = jnp.clip(std * jax.random.normal(key, a.shape), -clip, clip)
        return self.scaled(jnp.clip(a + noise, -1, 1))


class Actor(Policy):
    """pi(a | s, g): a Gaussian squashed by tanh."""

    outputs = 2  # mean and log standard deviation

    def __call__(self, s: Shaped[Array, "B ..."], g: Shaped[Array, "B ..."]):
        """Mean and log standard deviation (B, A) before tanh, for states and goals."""
        return self.gaussian(self.see(s, g))

    def gaussian(self, x: Float[Array, "B F"]):
        """Mean and log standard deviation (B, A) before tanh."""
        mean, log_std = jnp.split(self.tower(x), 2, axis=-1)
        return mean, jnp.clip(log_std, *LOG_STD)

    def sample(self, mean, log_std, *, key: PRNGKeyArray):
        """One action (B, A) of each row's Gaussian, and its log density (B,)."""
        u = mean + jnp.exp(log_std) * jax.random.normal(key, mean.shape)
        return self.scaled(jnp.tanh(u)), tanh_gaussian_log_prob(u, mean, log_std)

    def log_prob(self, a: Float[Array, "B A"], mean, log_std) -> Float[Array, " B"]:
        """Log density of given actions, in the units of [-1, 1]."""
        return clipped_log_prob(self.action.features(a), mean, log_std)

    def act(self, x, *, key: PRNGKeyArray, greedy: bool, exploration: float):
        """Actions (B, A): the mode, the mode with noise, or else a sample."""
        if greedy or exploration:
            return self.noisy(x, key=key, std=0.0 if greedy else exploration)
        return self.sample(*self.gaussian(x), key=key)[0]
