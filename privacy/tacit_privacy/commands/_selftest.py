"""`tacit audit selftest`: the mechanism that this installation would run, against what it claims."""

from typing import TYPE_CHECKING, Annotated

import typer

from tacit_privacy.cli import FAILED, JsonOption, json_on_stdout
from tacit_privacy.wording import rounded_down, rounded_up

if TYPE_CHECKING:
    from tacit_privacy.audit.selftest import SelfTest


def selftest(
    samples: Annotated[int, typer.Option(min=1_000, help="releases on either side of every case")] = 200_000,
    epsilon: Annotated[float, typer.Option(help="what one release claims; its noise follows")] = 4.0,
    delta: Annotated[float, typer.Option(help="delta of the claim, between 0 and 1")] = 1e-5,
    as_json: JsonOption = False,
) -> None:
    """Run the real clip, sum and noise on neighbouring inputs, and see whether they can be told apart too well.

    Exit code 1 when a lower bound on epsilon passes the claim. A correct mechanism fails once in a million times.
    """
    with json_on_stdout(as_json) as write:
        from tacit_privacy.accounting.gaussian import mu_for
        from tacit_privacy.audit.selftest import GridMechanism
        from tacit_privacy.audit.selftest import selftest as run
        from tacit_privacy.mechanisms.gaussian import GaussianSum
        from tacit_privacy.mechanisms.noise import SystemNoise

        mechanism = GaussianSum(clip_norm=1.0, noise_multiplier=1 / mu_for(epsilon, delta))
        found = run(GridMechanism(mechanism, SystemNoise()), delta, samples)
        write(found.as_json())
    if not as_json:
        _tell(found)
    if found.rejected:
        raise typer.Exit(FAILED)


def _tell(found: "SelfTest") -> None:
    claim = f"epsilon {rounded_up(found.epsilon)} at delta {found.delta:g} (mu {found.mu:.4g})"
    shown = f"{len(found.verdicts)} cases of {found.samples:,} releases on either side"
    if not found.rejected:
        best = f"epsilon {rounded_down(found.lower_bound)} (mu {rounded_down(found.mu_lower_bound)})"
        typer.echo(f"Not refuted: one release claims {claim}; at least {best} could be shown, in {shown}.")
        return
    typer.echo(f"REFUTED: one release claims {claim}, and {len(found.rejected)} of {shown} say otherwise:")
    for verdict in found.rejected:
        typer.echo(
            f"  epsilon at least {rounded_down(verdict.epsilon)}, mu {rounded_down(verdict.mu)}: {verdict.case.name}"
        )
