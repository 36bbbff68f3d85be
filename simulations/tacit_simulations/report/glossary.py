"""The words of the report, for a reader who is not of the field."""

GLOSSARY: tuple[tuple[str, str], ...] = (
    (
        "Adapter (LoRA)",
        "A small set of extra numbers that changes what a language model does while the model itself stays as it is "
        "(Hu et al. 2021, arXiv 2106.09685). Only adapters travel.",
    ),
    (
        "Adjacency",
        "What it means for two fleets to differ in one unit. Zero-out: the unit's update is replaced by zeros. "
        "Add-or-remove: the unit is there or not. Replace: it is exchanged for another. A bound holds for one of them.",
    ),
    (
        "Buffered rounds (FedBuff)",
        "Devices are kept at work all the time; the server steps whenever a buffer of updates is in, however old they "
        "are, so that nobody waits for the slowest (Nguyen et al. 2022, arXiv 2106.06639).",
    ),
    (
        "Centralised",
        "A model trained with all data in one place: what federation gives up for keeping data at home.",
    ),
    (
        "Clipping",
        "An update longer than the clipping norm is scaled down to it, so that no device can pull further than that.",
    ),
    ("Cohort", "The devices invited to one round."),
    (
        "Delta (\N{GREEK SMALL LETTER DELTA})",
        "The small probability that the guarantee of epsilon leaves out; kept below one over the number of devices.",
    ),
    (
        "Differential privacy (DP)",
        "A promise: whether or not one unit took part, what is released looks almost the same. "
        "Epsilon says how nearly the same (Dwork et al. 2006).",
    ),
    (
        "Epsilon (\N{GREEK SMALL LETTER EPSILON})",
        "How much anybody can learn about one unit from all that was released. Smaller is safer, 0 is nothing at all, "
        "and it only ever grows. Reported figures are rounded up.",
    ),
    ("Federated", "Devices train at home; only their updates go to a server, which averages them."),
    (
        "Gap closed",
        "The share of the way from the untrained model to the federated one without noise. 100% means that privacy "
        "cost nothing, below 0% that the model got worse.",
    ),
    ("Local only", "Every device trains on its own data alone and shares nothing."),
    (
        "Noise multiplier",
        "Standard deviation of the noise on the sum of updates over the clipping norm. More noise, less epsilon.",
    ),
    (
        "Noise source",
        "Where the random bits come from. A deployment asks the operating system; a seed protects nobody.",
    ),
    (
        "Noise to clip",
        "Length of the noise vector on the average, divided by the clipping norm. It grows with the square root of the "
        "adapter's size and falls with the cohort.",
    ),
    ("Personal adapter", "A second adapter that each device trains for itself and that never leaves it."),
    ("Round", "One turn: invite a cohort, train on the devices, average, add noise, release."),
    (
        "Simulator only",
        "A figure that exists because the fleet is emulated. It is not part of what a server sees or releases.",
    ),
    (
        "Staleness",
        "How many steps the server has taken since a device was given its adapter. In buffered rounds an older update "
        "counts less.",
    ),
    ("Tier", "A kind of device with its own speed, memory, battery and connection."),
    ("Virtual time", "The time that passes for the emulated fleet, not for the machine that emulates it."),
)
