"""Word lists that households are composed from. All made up here; no list is copied from a corpus."""

GIVEN = """Ada Agnes Ahmed Aiko Akua Alba Alejandro Amara Amir Ana Anders Anika Anton Aoife Arjun Astrid Aylin Bela Bruno
Carmen Chidi Chloe Ciara Dariusz David Deepa Diego Dmitri Ebony Elena Elif Emeka Emil Esra Farid Fatima Felix Freya Gita
Grace Hana Hassan Helga Hugo Ibrahim Ines Ingrid Ivan Jamal Jana Jasper Jin Joana Jonas Kaito Kamala Karim Kenji Klara
Kofi Lars Layla Leila Lena Liam Linh Lucia Magnus Mai Malik Marek Margit Mateo Mei Mila Mina Miriam Nadia Naoki Ngozi
Nia Nils Noor Olga Omar Oscar Paola Pavel Petra Pilar Priya Rafael Rahul Rania Rosa Ruth Sakura Samir Sanjay Selma Sven
Tariq Tessa Thandi Theo Tomas Uma Vera Viktor Wanjiru Wei Yara Yusuf Zainab Zofia""".split()
SURNAMES = """Abara Adeyemi Alvarez Andersson Banerjee Becker Bianchi Boateng Castillo Chen Costa Dahl Demir Diallo Dubois
Eriksen Farouk Ferrari Fischer Fujita Garcia Haddad Hansen Hoang Horvat Ito Ivanova Jansen Kaya Khan Kim Kowalski Kumar
Larsen Lefevre Lopez Mbeki Moreau Mwangi Nagy Nakamura Nguyen Novak Okafor Olsen Osei Park Patel Petrov Quispe Rahman
Rossi Saito Santos Schmidt Silva Singh Sousa Suzuki Tanaka Tran Varga Virtanen Wagner Yilmaz Zhang""".split()
STREETS = "Mill Oak Harbour Station Church Linden Meadow Castle Orchard River Chapel Market Birch Garden Quarry".split()
STREET_KINDS = "Street Road Lane Avenue Close Way".split()
TOWNS = "Ashford Bellmere Corvale Dunhaven Eastbrook Fernhill Greyport Hollowby Larkfield Marston Northwick".split()
ROOMS = "kitchen bedroom bathroom hall study garage nursery attic cellar lounge".split()
DOORS = "front door|back door|garage door|side gate".split("|")
ROOM_NICKNAMES = "cave|den|bunker|nest|lab|snug|engine room|dungeon|cockpit|burrow|tower|shed|hideout|parlour".split("|")
VACUUM_NICKNAMES = "the beast|Dusty|Sir Sucks|the crab|Hoover Harry|Robbie|the turtle|Mister Crumbs|Zippy".split("|")
PERSON_NICKNAMES = "Nana|Boo|Captain|Sis|the boss|Bear|Bean|Chief|Mouse|Duchess|Pops|Ziggy|Peanut|the twins' mum".split("|")
PET_PHRASES = """cosy time|curtain up|lights out crew|all hands|off we go|pyjama o'clock|party hats|ghost town|slow sunday
|battle stations|tea and biscuits|moonrise|quiet please|home stretch|sofa mode|rise and grind""".replace("\n", "").split("|")
SCENES = "evening morning away movie dinner bedtime reading guests".split()
ITEMS = """oat milk|eggs|bread|apples|rice|coffee|olive oil|bin bags|butter|pasta|onions|yoghurt|tea|flour|batteries|soap
|bananas|cheese|tomatoes|cat food|lentils|honey|lemons|toothpaste""".replace("\n", "").split("|")
GENRES = "jazz|rock|piano|news|classical|folk|hip hop|salsa|a podcast|lullabies|techno|blues".split("|")
DAYS = "today tomorrow monday tuesday wednesday thursday friday saturday sunday".split()
EVENTS = """dentist|school play|swimming|haircut|vet|football|piano lesson|parents evening|car service|book club|yoga
|birthday dinner|plumber|choir""".replace("\n", "").split("|")
MESSAGES = "running late|dinner is ready|call me|on my way|happy birthday|good night|train delayed|bring the keys".split("|")
PLANTS = "basil ficus orchid fern cactus tomatoes ivy lavender".split()
OBJECTS = "keys|phone|glasses|wallet|remote|tablet|umbrella|headphones".split("|")
COUNTS = {"one": "1", "two": "2", "three": "3", "five": "5", "ten": "10", "twelve": "12", "fifteen": "15", "twenty": "20"}
TOPICS: dict[str, tuple[str, ...]] = {
    "cooking": ("how long do i boil {item}", "what can i cook with {item}", "can i freeze {item}", "is {item} still good"),
    "travel": ("how do i get to {town} by train", "is there traffic to {town}", "when is the last bus to {town}"),
    "health": ("my {relation} is {age} and has a fever what should i do", "how much sleep does a {age} year old need"),
    "money": ("write a letter to my bank about the card of {full}", "what does it cost to insure {address}"),
    "letters": ("draft an email to {email} about the {event}", "write to {full} at {address} about the {event}"),
    "homework": ("explain fractions to a {age} year old", "help {person} with an essay about {town}"),
}
RELATIONS = "mother father sister brother son daughter aunt uncle neighbour grandmother".split()
