"""Kinds of connections: how fast, how much the radio draws, whether traffic is metered."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Link:
    """One kind of connection as a device in the field sees it.

    Medians of throughput in Mbit/s, ``sigma`` of their log-normal spread between devices, ``watts`` while moving data
    and ``failure`` = probability that a transfer breaks and is not retried in time.
    """

    name: str
    down_mbit: float
    up_mbit: float
    sigma: float
    watts: float
    metered: bool
    failure: float


# Throughput: medians of the order of Ookla's Speedtest Global Index for fixed and mobile access (2024), lowered for
# distance to the access point; 3G as in the Norwegian HSDPA logs (Riiser et al. 2013). Radio power: Huang et al. 2012,
# "A close examination of performance and power characteristics of 4G LTE networks", at these rates.
# Failure rates are estimates.
LINKS: tuple[Link, ...] = (
    Link("none", 1e-3, 1e-3, 0.0, 0.0, False, 1.0),
    Link("ethernet", 150.0, 50.0, 0.6, 0.3, False, 0.005),
    Link("wifi-fibre", 90.0, 45.0, 0.7, 0.9, False, 0.015),
    Link("wifi-dsl", 25.0, 5.0, 0.7, 0.8, False, 0.02),
    Link("cellular-5g", 90.0, 12.0, 0.9, 2.6, True, 0.025),
    Link("cellular-4g", 18.0, 5.0, 0.9, 2.2, True, 0.035),
    Link("cellular-3g", 1.5, 0.5, 0.8, 1.4, True, 0.06),
)
NO_LINK = 0
LINK_INDEX: dict[str, int] = {link.name: index for index, link in enumerate(LINKS)}

# Share of connections at home and on the road, by habit of the device. "none" away: out of home means unreachable.
HOME_LINKS: dict[str, dict[str, float]] = {
    "stationary": {"ethernet": 0.4, "wifi-fibre": 0.38, "wifi-dsl": 0.22},
    "phone": {"wifi-fibre": 0.55, "wifi-dsl": 0.35, "cellular-4g": 0.08, "cellular-5g": 0.02},
    "tablet": {"wifi-fibre": 0.6, "wifi-dsl": 0.4},
    "laptop": {"ethernet": 0.1, "wifi-fibre": 0.55, "wifi-dsl": 0.35},
}
AWAY_LINKS: dict[str, dict[str, float]] = {
    "stationary": {"none": 1.0},
    "phone": {"cellular-5g": 0.35, "cellular-4g": 0.55, "cellular-3g": 0.1},
    "tablet": {"none": 0.8, "cellular-4g": 0.2},
    "laptop": {"none": 1.0},
}
