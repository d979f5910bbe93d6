"""What one does with things, as verb phrases that are put into general frames: data.

One block per property of :mod:`.knowledge` that names an action. A slash parts the action from
the preposition that a noun leaves behind: ``sip water /from`` gives "something to sip water from"
and "I want to sip water."; a line without a slash takes its noun as the object ("to peel") and
gives no motive. ``FRAMES`` holds the general frames.
"""

from __future__ import annotations

__all__ = ["FRAMES", "USES_VERBS"]

FRAMES: dict[str, str] = {
    "frame.post": """
        to {v}
        you can {v}
        one can {v}
        I can {v}
        I could {v}
        people {v}
        you would {v}
        one would {v}
        that I can {v}
        that people {v}
        that you can {v}
        we could {v}
        somebody could {v}
        that one could {v}
        anyone would {v}
        I might {v}
        they {v}
        that we can {v}
        you usually {v}
        a person could {v}
    """,
    "frame.ask": """
        What could I {v}
        What can you {v}
        What would you {v}
        What do people {v}
        What might I {v}
        What should I {v}
        What can one {v}
        What would somebody {v}
        What is there to {v}
        Which thing could I {v}
        Which object would I {v}
        What here could I {v}
        What do you usually {v}
        Which of these could I {v}
        What can anyone {v}
        Which item can I {v}
        What would a person {v}
    """,
    "frame.why": """
        I want to {w}.
        I need to {w}.
        I have to {w}.
        I am about to {w}.
        It is time to {w}.
        Soon I will {w}.
        My plan is to {w}.
        I'd like to {w}.
        We are going to {w}.
        My neighbour wants to {w}.
        The robot was told to {w}.
        Somebody has to {w}.
        I am getting ready to {w}.
        My friend would like to {w}.
        Let us {w}.
        They asked me to {w}.
        I must {w}.
        The next job is to {w}.
        I was going to {w}.
        You told me to {w}.
    """,
}

USES_VERBS: dict[str, str] = {
    "drink": """
        drink /from
        drink juice /from
        sip water /from
        drink lemonade /from
        have a drink /from
        drink milk /from
        quench my thirst /with
        take a sip /from
        drink something cold /from
        drink some water /out of
        have a sip of juice /from
        gulp down water /from
    """,
    "hot_drink": """
        drink coffee /from
        sip cocoa /from
        have an espresso /from
        drink hot chocolate /from
        sip a latte /from
        have my morning coffee /in
        drink cappuccino /from
        drink a hot beverage /from
        warm my hands on a hot drink /with
        sip something hot /from
    """,
    "serve": """
        serve dinner /on
        serve pasta /on
        put lunch /on
        dish out food /on
        eat a meal /off
        serve salad /on
        put a portion of rice /on
        bring the food /on
        serve breakfast /on
        eat dinner /from
        lay out snacks /on
    """,
    "soup": """
        eat soup /from
        have cereal /from
        ladle stew /into
        eat porridge /from
        mix a salad /in
        whisk eggs /in
        serve broth /in
        eat muesli /from
        have ramen /from
        stir batter /in
        pour cereal and milk /into
    """,
    "pour": """
        pour a drink /from
        refill a cup /from
        fill the glasses /from
        top up a drink /from
        pour out some water /from
        pour liquid /from
        fill a cup /from
        serve drinks /from
        tilt to fill a glass
        tip to pour
    """,
    "cook": """
        fry eggs /in
        cook over heat /with
        make pancakes /in
        fry bacon /in
        brown onions /in
        cook an omelette /in
        sear meat /in
        heat vegetables /in
        cook on the stove /with
        fry fish /in
        follow the recipe and fry mushrooms /in
        put on a hob
        put on a burner
    """,
    "read": """
        read
        read a story /in
        leaf through
        study for the exam /from
        look up a chapter /in
        borrow from the library
        put on a bookshelf
        learn history /from
        find printed words /in
        turn the pages /of
        read in bed
    """,
    "nail": """
        drive nails /with
        hit a nail /with
        pound a stake /with
        knock in a nail /with
        hang a picture with a nail /with
        bang on wood /with
        strike a nail /with
        swing as a carpenter
        hammer something down /with
        nail two boards together /with
    """,
    "toolbox": """
        repair the shelf /with
        fix things /with
        keep in a toolbox
        buy in a hardware store
        carry in a tool belt
        do some repair work /with
        mend the chair /with
        find in a workshop
        store in a tool chest
        repair a machine /with
    """,
    "light": """
        light up the room /with
        switch on in the dark
        see at night /with
        brighten a dark corner /with
        shine a light /with
        use in the dark cellar
        turn on when it gets dark
        illuminate things /with
        make it brighter here /with
        get better light /from
    """,
    "eat": """
        eat
        bite into
        have as a snack
        eat for breakfast
        put in a fruit salad
        blend into a smoothie
        taste
        feed to a monkey
        give to a hungry person
        chew
        eat when hungry
        swallow
    """,
    "peel": """
        peel
        peel before eating
        take the skin off
        unwrap by hand and eat
        pull the skin from
        peel with the fingers
        strip of its peel
        skin before a bite
    """,
    "call": """
        call somebody /with
        send a message /with
        phone a friend /with
        dial a number /on
        ring my sister /with
        talk to my mother abroad /with
        text someone /with
        get in touch with people /with
        make a video call /with
        call for help /with
        keep contacts /on
        carry in a pocket for calls
    """,
    "screen": """
        take a photo /with
        take photos /with
        scroll through apps /on
        swipe /on
        browse the internet /on
        watch clips /on
        take a selfie /with
        check the weather /on
        unlock with a fingerprint
        look at pictures /on
        use apps /on
    """,
    "play": """
        play /with
        have fun /with
        give to a child
        keep in the toy chest
        buy in a toy shop
        amuse a toddler /with
        keep a kid busy /with
        take to the playroom
        take to the nursery
        entertain children /with
    """,
    "bounce": """
        throw and catch
        bounce off the floor
        kick at a goal
        toss to a friend
        dribble
        bounce against the wall
        juggle
        use for sports
        throw for a dog
        practise with the team /with
        see hop off the ground
    """,
    "pack": """
        pack things /in
        ship a gift /in
        store small things /in
        send a parcel /in
        move house /with
        keep odds and ends /in
        fill and tape shut
        get by mail
        pack my belongings /in
        put a present /in
        close with a folding lid
    """,
    "stir": """
        stir tea /with
        stir coffee /with
        scoop sugar /with
        eat yogurt /with
        taste the sauce /with
        eat pudding /with
        measure out honey /with
        do some stirring /with
        mix in the milk /with
        stir the sugar up from the bottom /with
    """,
    "cutlery": """
        eat a meal /with
        lay beside a plate
        keep in the cutlery drawer
        set the table /with
        hold while eating
        find among the silverware
        eat at the table /with
        polish with the silver
        place next to the dish
    """,
    "cut": """
        cut paper /with
        cut string /with
        open a taped parcel /with
        slice things /with
        snip a thread /with
        trim a label /with
        cut a ribbon /with
        cut something in two /with
        divide a rope /with
        use for its blades
        slice through tape /with
    """,
    "sharp": """
        cut yourself on
        prick your finger on
        hurt yourself on
        keep away from toddlers
        hand over handle first
        leave out of hand luggage
        call a cutting hazard
        be careful with, being sharp
        bleed from touching
        keep out of reach because it is pointed
    """,
    "brew": """
        make tea /in
        brew tea /in
        steep tea leaves /in
        put tea bags /in
        prepare a pot of tea /in
        pour tea from a spout /with
        keep tea warm /in
        serve tea to friends /from
        take to a tea party
        make green tea /in
    """,
    "flowers": """
        put flowers /in
        arrange roses /in
        keep tulips fresh /in
        put a bouquet /in
        put stems in water /in
        display a bunch of lilies /in
        stand sunflowers /in
        show off blossoms /in
        set on the table with flowers
        fill as a florist
    """,
    "bolt": """
        tighten a bolt /with
        loosen a nut /with
        turn bolts /with
        undo a nut /with
        grip a nut /with
        fix a loose bolt /with
        take off a wheel nut /with
        tighten a pipe joint /with
        unscrew a bolt /with
        work on nuts /with
    """,
    "scrub": """
        scrub the floor /with
        clean the sink /with
        brush off dirt /with
        clean shoes /with
        scour a pot /with
        get rid of dust /with
        sweep crumbs away /with
        polish boots /with
        scrub off a stain /with
        clean the tiles /with
        get mud off boots /with
    """,
    "wear": """
        wear
        put on
        wear on the head
        put over my hair
        get dressed /with
        cover my head /with
        try on
        wear above the ears
        dress a mannequin's head /with
    """,
    "shade": """
        keep the sun off my face /with
        shade my eyes /with
        hide bad hair /with
        keep my hair dry /with
        protect my head from sunburn /with
        wear on a sunny day
        take off in greeting
        keep my head warm /with
        pull a rabbit /from
    """,
    "listen": """
        listen to music /with
        hear a song /with
        listen to a podcast /with
        put over the ears
        keep the noise out /with
        enjoy an album /with
        wear as a DJ
        hear music on the train /with
        cover both ears /with
        play loud music without disturbing others /with
    """,
}
