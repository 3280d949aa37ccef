"""Words by kind, and adjectives by sentiment: short lists of the recipe's own."""

from __future__ import annotations

_ANIMALS = """dog cat horse cow pig sheep goat lion tiger bear wolf fox rabbit mouse rat deer elephant monkey camel
donkey eagle owl duck goose chicken turkey pigeon crow swan parrot penguin sparrow hawk falcon
whale dolphin shark salmon trout tuna crab lobster octopus
snake lizard turtle frog toad crocodile ant bee wasp spider butterfly beetle worm snail squirrel hedgehog
giraffe zebra"""

_FOODS = """bread butter cheese milk egg rice pasta soup salad pizza sandwich cake cookie pie chocolate honey sugar salt
pepper apple banana orange lemon grape cherry peach pear plum strawberry melon mango pineapple coconut
tomato potato carrot onion garlic cabbage lettuce spinach broccoli bean pea corn pumpkin mushroom
beef pork bacon sausage ham steak yogurt cereal noodle omelette"""

_CLOTHES = """shirt trousers skirt dress jacket coat sweater hat cap scarf glove sock shoe boot sandal belt tie suit
blouse shorts jeans pajamas robe vest apron cloak hood mitten slipper sneaker uniform gown cardigan underwear
stocking bikini poncho kimono tuxedo raincoat hoodie overalls leggings bonnet turban swimsuit"""

_TOOLS = """hammer screwdriver saw drill wrench pliers axe shovel rake hoe chisel ladder knife scissors needle
broom mop bucket brush ruler file clamp crowbar spade pickaxe wheelbarrow sickle trowel lever pulley
stapler tweezers sandpaper sledgehammer toolbox chainsaw lathe anvil mallet hatchet"""

_VEHICLES = """car bus truck van bicycle motorcycle train tram taxi ship boat ferry canoe kayak yacht submarine
airplane helicopter rocket glider balloon tractor ambulance limousine scooter wagon carriage sled
sailboat raft hovercraft bulldozer jeep minivan pickup locomotive spaceship skateboard jet trolley"""

KINDS: tuple[tuple[str, str], ...] = tuple(
    (word, kind)
    for kind, words in (
        ("animal", _ANIMALS),
        ("food", _FOODS),
        ("clothing", _CLOTHES),
        ("tool", _TOOLS),
        ("vehicle", _VEHICLES),
    )
    for word in words.split()
)

_POSITIVE = """good great excellent wonderful amazing fantastic lovely delightful superb brilliant outstanding perfect
pleasant enjoyable charming beautiful impressive delicious fun exciting inspiring remarkable terrific marvelous
splendid fabulous awesome magnificent refreshing thrilling heartwarming memorable satisfying fascinating
elegant incredible exceptional joyful stunning uplifting"""

_NEGATIVE = """bad terrible awful horrible boring dull disappointing dreadful poor nasty unpleasant annoying ugly
disgusting miserable painful tedious mediocre pathetic lousy depressing frustrating disastrous appalling
atrocious ridiculous useless horrid dismal gloomy irritating rude dirty broken unbearable
confusing embarrassing offensive shameful tiresome"""

ADJECTIVES: tuple[tuple[str, str], ...] = tuple(
    (word, sentiment)
    for sentiment, words in (("positive", _POSITIVE), ("negative", _NEGATIVE))
    for word in words.split()
)

SUBJECTS = (
    "The movie", "The food", "The hotel", "Her speech", "This book", "The service", "Our trip", "The weather",
    "His answer", "The concert", "The staff", "That game",
)  # fmt: skip

# With the subject and the adjective.
REVIEWS = ("{} was {}.", "{} was really {}.", "{} is just {}.", "{} felt {} to me.", "{} turned out to be {}.")
