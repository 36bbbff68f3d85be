"""English words that are also people's names: in lower case they are words, and refusing them would refuse English."""

from typing import Final

_WORDS = """
abbot ace amber angel april archer art ash august autumn baker banks barber bass bay bell berry best bill bird
bishop black blue bob bond book booker boy bridge bright brook brooks brown buck bull burns bush butcher butler
carpenter carter case chance chase chip christian church clay clerk cliff coach cook cooper court cox crisp cross
curry daisy dale dawn day dean dick dollar drew drake drew early east elder ever faith farmer fern field fields
finch fisher fish flint flora flower forest fox frank free french frost gale gardener gay gene gift glen gold good
grace grant gray green grey griffin gross guy hand harmony hart hawk hazel head heath heather heaven hill hills
holly holy home honey hood hope hunter iris ivy jack jade jasmine jay jean jewel joy june just justice keen key
king knight lake lamb land lane large laurel law leaf lee lily lion little long lord love lucky luck lynch
major marble march mark marks marsh marshal mason max may mercy miles mill miller mills minor mint misty moody
moon moss myrtle noble north oak olive page parish park parker parks pat patience patty peace pearl penny pepper
perch pierce pike piper pitt plant pole pool poor pope porter post potter powers pratt precious price pride prince
pure queen rain ramp randy ray read reed reef rich rice ring rivers road rob rock rocky rod rose royal ruby rush
rusty sage sailor salt sands saint savage sandy scarlet sea self sergeant serene sharp shepherd shore short sierra
silver singer sky skip sky small smart smith snow sonny south sparks spears spring star stark steel stern stone
storm story street strong sue summer summers sun sunny swan sweet swift sylvan tailor tanner taylor teal terry
thorn tiger tim town tracy trinity trip troy tucker turner usher vale valentine van velvet victor victory viola
violet wade wagner walker wall ward warden waters weaver webb wells west wheeler white wild will win winter wise
wolf wood woods worth wren young
"""
NAMES_THAT_ARE_WORDS: Final = frozenset(_WORDS.split())
