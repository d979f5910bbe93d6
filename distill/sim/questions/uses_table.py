"""Phrasings of the properties of the table ware, kitchen and tool categories: data.

One block per property key of :mod:`.knowledge`. A line begins with ``=`` (gist for the
rationale), ``?`` (a whole question), ``!`` (a motive for the long form) or is a phrase that
stands after a noun ("something …"). ``[a|b]`` is singular and plural.
"""

from __future__ import annotations

__all__ = ["USES_TABLE"]

USES_TABLE: dict[str, str] = {
    "drink": """
        = drink from
        to drink from
        one can drink from
        you can drink from
        I could drink from
        that people drink from
        that [holds|hold] a cold drink
        for drinking
        for drinking water out of
        meant to be drunk from
        that [lets|let] you sip a drink
        that [is|are] put to the lips
        I can quench my thirst with
        that [carries|carry] a drink to your mouth
        for having a drink
        that [serves|serve] for sipping juice
        made for drinking
        ? What could I drink from
        ? What can you drink out of
        ? Where could my juice go so that I can sip it
        ? From what can one have a sip of water
        ? What do people raise to their lips to drink
        ! I am thirsty.
        ! My mouth is dry after the run.
        ! I would like a sip of water.
        ! It is hot today and I have not had a drink for hours.
        ! A guest asks for a glass of juice and must get it in something.
        ? What would you sip lemonade from
        ! My throat is dry.
        ! We ran out of cups on the shelf, but I want lemonade.
    """,
    "hot_drink": """
        = hot drink
        for hot coffee
        to drink coffee from
        that [holds|hold] a hot drink
        that [holds|hold] your morning coffee
        for drinking something hot
        for cocoa
        meant for hot beverages
        one drinks coffee out of
        you would fill with espresso
        that [takes|take] hot chocolate
        used to hold hot beverages
        for a latte
        that a barista fills
        used for sipping cappuccino
        for having a coffee
        ? What would I drink my coffee from
        ? What holds a hot beverage while you sip it
        ? What would a barista fill
        ? Where does my hot chocolate go
        ! I have just made coffee.
        ! The espresso machine is ready.
        ! I spilled my coffee and want a fresh one.
        ! It is cold and I long for hot chocolate.
        that [keeps|keep] cocoa close to your hands
        to sip a hot latte from
        ? What would I have my latte in
        ! The kettle has boiled and the cocoa is stirred.
        ! I could use a latte.
        ! The coffee is hot and needs to go somewhere.
    """,
    "ceramic": """
        = ceramic
        made of ceramic
        made of pottery
        of fired clay
        that [is|are] usually ceramic
        made of porcelain
        that a potter makes
        that [comes|come] from a kiln
        of stoneware
        that [is|are] made from clay
        typically made of china
        of glazed clay
        that [is|are] baked from clay
        with a glazed ceramic body
        that [counts|count] as pottery
        made by a potter
        ? What is made of ceramic
        ? What did a potter make
        ? What came out of a kiln
        ? What is typically porcelain
        ! The potter asks what of this could be hers.
        ! I collect things that came out of a kiln.
        ! We are sorting by material, and clay ware comes first.
        for the pottery shelf
        of burnt clay
        that [is|are] stoneware or china
        ? What is clay ware
        ? What would a potter call her own
        ? What is glazed
        ! The kiln is empty again.
        ! My aunt throws pots and wants to see her ware.
        ! The glaze has to be looked at.
        ! Only stoneware and china go into this crate.
        ! A crack in the clay must be found.
    """,
    "side_handle": """
        = handle on the side
        with a handle on the side
        with an ear-shaped handle
        that [has|have] a loop handle
        with a curved side handle
        that [has|have] a handle like an ear
        you hold by a loop on the side
        with a looped grip
        whose handle is a loop
        that [has|have] a finger loop on the side
        carried by a side loop
        with a rounded handle at the side
        that [is|are] held by an ear
        whose side has a loop for the fingers
        with a ring-like handle
        that [has|have] a bent handle on one side
        ? What has a handle on its side
        ? What can I hold by a loop on the side
        ? What has an ear-like handle
        ? What would I carry by its side loop
        ! The hook can only hold things by a side loop.
        ! The gripper hangs things up by their loop handles.
        ! I want to hang something by its ear.
        that [hangs|hang] on a hook by the handle
        with a loop that a finger goes through
        ? What could hang on a hook by its handle
        ? What has a rounded loop to hold it by
        ! The hook on the wall takes a loop handle.
        ! I can only lift things by a ring at the side.
        ! My finger fits through a loop.
        ! The hanger holds rounded handles.
    """,
    "serve": """
        = serve food
        to serve food on
        food is served in
        that [holds|hold] a meal
        to put a meal on
        you eat dinner from
        that [goes|go] on the table with a meal
        for serving a meal
        for a portion of food
        that [carries|carry] your dinner
        you would put your lunch on
        food is dished out on
        to put salad on
        for serving pasta
        on which dinner is served
        that waiters bring with food
        a meal is eaten off
        ? What could I serve dinner on
        ? What could hold my meal
        ? Where would you put a portion of pasta
        ? What does a waiter bring the food on
        ! Dinner is ready and must be dished out.
        ! The pasta is done.
        ! Lunch needs to get on the table.
        ! I made a salad for the guests.
        for snacks and meals
        ? What would I eat dinner from
        ! The waiter comes with the food.
        ! My pasta is done and hot.
    """,
    "soup": """
        = soup
        for soup
        to eat soup from
        that [holds|hold] cereal and milk
        to have cereal from
        for a portion of stew
        to mix a salad in
        deep enough for soup
        you ladle soup into
        for porridge
        for eating ramen
        muesli is eaten from
        that [serves|serve] for broth
        to whisk eggs in
        for a helping of stew
        in which soup is served
        ? What would I eat soup from
        ? Where does my cereal go
        ? What could I ladle stew into
        ? What holds porridge
        ! The soup is ready.
        ! I want cereal with milk.
        ! A stew is waiting on the stove.
        ! Breakfast will be porridge today.
        to ladle soup into
        for whisking eggs
        ? What could I whisk eggs in
        ? Where would you put broth
        ! The broth is hot.
        ! My muesli is waiting for milk.
        ! We are having ramen tonight.
    """,
    "pour": """
        = pour from
        to pour from
        one pours a drink from
        you can pour a drink out of
        that [pours|pour] liquid
        used for filling cups
        to refill a cup from
        to fill glasses from
        that [is|are] tipped to fill a cup
        for pouring out drinks
        from which drinks are poured
        I could top up a glass with
        that [dispenses|dispense] a drink when tilted
        you tilt to fill a glass
        that [is|are] used for pouring
        for topping up drinks
        ? What could I pour a drink from
        ? What can I refill a cup from
        ? What is tilted to fill glasses
        ? From what are drinks poured
        ! The glasses are empty and the guests want more.
        ! My cup needs a refill.
        ! Somebody should top up the drinks.
        that [fills|fill] cups
        ? What could I fill the glasses from
        ! The cup is empty.
        ! Guests are thirsty; someone should go round and fill up.
    """,
    "cook": """
        = cook with
        to cook with
        to fry eggs in
        for frying
        that [goes|go] on the stove
        for making pancakes
        you put on a hot burner
        you fry bacon in
        used on a cooker
        for sauteing vegetables
        that [belongs|belong] on the hob
        food is fried in
        used to cook over heat
        to brown onions in
        for making an omelette
        to sear meat in
        ? What could I fry an egg in
        ? What goes on the stove
        ? What would I make pancakes in
        ? What do I put on the burner to cook
        ! I want to fry two eggs.
        ! The stove is hot and the bacon is waiting.
        ! We are having pancakes.
        ! The recipe says: brown the onions.
        for frying fish
        ? What could I fry fish in
        ? What would I cook over heat with
        ! The hob is on.
        ! I feel like pancakes.
        ! The fish should be fried.
    """,
    "metal": """
        = metal
        made of metal
        made mostly of metal
        with a metal body
        that [contains|contain] steel
        of steel
        that [is|are] usually metal
        that a magnet might pull
        made from iron or steel
        that [clinks|clink] like metal
        with a metal part
        that [is|are] metallic
        a smith could have made
        that a metal detector would find
        forged from metal
        that could rust
        ? What is made of metal
        ? What would a metal detector find
        ? What could a magnet pull
        ? What might rust
        ! I am sorting scrap metal.
        ! The magnet crane is looking for work.
        ! Steel goes into the left bin.
        that a scrap dealer would buy
        of iron or steel
        that [is|are] made by a smith
        ? What is made of steel
        ? What is metallic
        ? What would clink
        ! The magnet needs a test.
        ! The scrap dealer pays for steel today.
        ! I want to see what rust could do.
        ! The metal detector beeps.
        ! The blacksmith is curious.
    """,
    "read": """
        = read
        to read
        one can read
        you can read
        for reading
        with pages
        with printed pages
        that [tells|tell] a story in print
        with chapters
        full of printed text
        you leaf through
        that [belongs|belong] in a library
        kept on a bookshelf
        for a quiet evening of reading
        written by an author
        that [has|have] a cover and pages
        to study from
        ? What could I read
        ? What has printed pages
        ? What belongs in a library
        ? What can I leaf through
        ! I am bored on the train and like stories.
        ! The exam is tomorrow and I must study.
        ! The librarian wants her loan back.
        ! A bedtime story would be nice.
        with a story inside
        with many chapters
        ? What has chapters
        ? What tells a story in print
        ! I love a good story.
        ! I need chapter three.
        ! The shelf in the library has a gap.
    """,
    "paper": """
        = paper or cardboard
        made of paper or cardboard
        made from paper
        of cardboard or paper
        that [goes|go] in the paper recycling
        that [was|were] made from wood pulp
        you could recycle as paper
        that rain would make soggy
        whose material is paper or card
        that [comes|come] from a paper mill
        that [tears|tear] like paper
        made of pulp
        for the waste paper bin
        of paper-like material
        that [is|are] paper-based
        consisting of card or paper
        ? What is made of paper or cardboard
        ? What goes in the paper recycling
        ? What would get soggy in the rain
        ? What comes from a paper mill
        ! The paper recycling is collected today.
        ! I am sorting the recycling, paper first.
        ! Rain is coming in and soggy paper is a mess.
        that the paper mill takes back
        that the shredder could eat
        made of card
        ? What would the shredder take
        ? What is made of card or paper
        ? What could be recycled as paper
        ! The shredder is running.
        ! The paper mill takes old material back.
        ! The blue recycling bin is for card and paper.
        ! Water would ruin anything made of pulp.
        ! The waste paper goes out today.
    """,
    "nail": """
        = drive nails
        to drive nails with
        to hammer in a nail
        for hitting nails
        you can pound with
        that [drives|drive] nails into wood
        a carpenter swings
        for hammering
        used to knock nails in
        to bang in a nail
        for pounding stakes
        to hang a picture with a nail
        with a heavy striking head
        you strike with
        used for driving nails
        that [hits|hit] nails on the head
        ? What could I drive a nail with
        ? What does a carpenter swing
        ? What would I pound with
        ? What knocks nails into wood
        ! A nail sticks out of the board.
        ! I want to hang a picture on the wall.
        ! The carpenter has nails but nothing to hit them with.
        that [is|are] swung to drive nails
        ? What could hit a nail on the head
        ! There are boards to be nailed together.
        ! The tent stake must go into the ground.
    """,
    "toolbox": """
        = toolbox
        from a toolbox
        that [belongs|belong] in a toolbox
        used for repairs
        a mechanic would use
        for fixing things around the house
        a handyman carries
        kept in the workshop
        sold in a hardware store
        for repair work
        you would find in a workshop
        from the tool chest
        for do-it-yourself work
        used by repairmen
        that [is|are] a hand tool for repairs
        from a tool belt
        ? What belongs in a toolbox
        ? What would a handyman carry
        ? What is used for repairs
        ? What would I buy in a hardware store
        ! The shelf is broken and I will repair it.
        ! The handyman has started work.
        ! I am putting the workshop in order.
        ? What is sold in a hardware store
        ? What could I mend a chair with
        ! The chair wobbles and needs mending.
        ! Something in the machine broke.
    """,
    "light": """
        = give light
        that [gives|give] light
        to light up the room
        that can shine
        for lighting a dark place
        you switch on in the dark
        that [makes|make] light
        with a bulb
        that [brightens|brighten] a dark corner
        to see by at night
        that [glows|glow] when switched on
        for when it gets dark
        used for illumination
        that [illuminates|illuminate] things
        that [contains|contain] a light bulb
        for better light
        that [is|are] a source of light
        ? What gives light
        ? What could I switch on in the dark
        ? What has a bulb
        ? What would help me see at night
        ! It is getting dark.
        ! The power is weak and I can hardly see.
        ! I can't read in this gloom.
        ! There is a noise in the dark cellar.
        ? What could brighten this corner
        ? What makes it brighter
        ! The lights went out.
        ! I hear a noise in the cellar and it is dark.
        ! It should be brighter in here.
    """,
    "electric": """
        = electric
        that [runs|run] on electricity
        that [is|are] electric
        with electronics inside
        that [needs|need] power
        that [has|have] a battery or a plug
        that must be charged or plugged in
        powered by electricity
        you can switch on
        with wires inside
        that [stops|stop] working without power
        that [goes|go] in the electronics bin
        that [is|are] an electrical device
        that [uses|use] electric current
        an electrician could repair
        that [contains|contain] a circuit
        ? What runs on electricity
        ? What needs power
        ? What contains electronics
        ? What can be switched on
        ! The electronics bin is still empty.
        ! Everything electric must be off before we leave.
        ! Water is dripping and electricity is a risk.
        that [needs|need] a charger or a plug
        with a battery or a cable
        that [works|work] with current
        ? What has a battery or a plug
        ? What would an electrician repair
        ? What needs to be charged
        ! The electrician has arrived.
        ! A battery must be charged.
        ! The plug and the cable need checking.
        ! We must unplug things before the storm.
        ! The power is out and some things will not work.
    """,
    "eat": """
        = eat
        to eat
        one can eat
        you can eat
        that [is|are] edible
        for a snack
        to bite into
        that [is|are] food
        that [counts|count] as fruit
        that [grows|grow] on a plant
        that [tastes|taste] sweet
        that [gives|give] energy when eaten
        for a hungry person
        that [goes|go] in a fruit salad
        to put in a smoothie
        good for breakfast
        monkeys love
        ? What can I eat
        ? What is edible
        ? What would make a snack
        ? What would go in a smoothie
        ! I am hungry.
        ! I skipped breakfast.
        ! I need some energy before the game.
        ! The fruit salad is not finished.
        ? What would a monkey love
        ? What could I have for breakfast
        ! My stomach is empty.
        ! I could do with a snack.
        ! The monkey in the zoo is hungry.
        ! It is time for breakfast.
    """,
    "peel": """
        = peel
        with a peel
        you peel before eating
        with a skin that comes off
        whose skin you take off
        that must be peeled
        that [has|have] an edible inside
        with a yellow peel when ripe
        whose peel is slippery
        that you unwrap by hand to eat
        that [has|have] a peel you throw away
        people slip on the skin of
        that [leaves|leave] a peel behind
        that [is|are] peeled with the fingers
        whose skin goes on the compost
        that [comes|come] in its own peel
        ? What has to be peeled
        ? What has a peel
        ? Whose skin is taken off before eating
        ? What leaves a slippery peel behind
        ! The compost wants peel.
        ! The clown looks for something to slip on.
        ! I will peel something for the child.
        with a slippery skin
        that a clown slips on
        ? What would I peel
        ? What has a skin that comes off
        ? What could a clown slip on
        ! The skin has to come off first.
        ! The monkey wants to unwrap something.
        ! The compost bin takes slippery skins.
        ! I like fruit that needs no knife.
        ! Someone will slip if the skin stays on the floor.
    """,
}
