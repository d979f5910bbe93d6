"""Phrasings of the properties of the remaining categories; see :mod:`.uses_table` for the form."""

from __future__ import annotations

__all__ = ["USES_THINGS"]

USES_THINGS: dict[str, str] = {
    "call": """
        = call somebody
        to call somebody with
        to make a call with
        for phoning a friend
        you can ring someone with
        that [rings|ring]
        for texting
        to send a message with
        that [connects|connect] you with people far away
        for a video call
        to dial a number on
        that [keeps|keep] your contacts
        you would call for help with
        that [buzzes|buzz] when somebody calls
        to get in touch with someone
        people carry in a pocket to make calls
        for talking to my mother abroad
        ? What could I call somebody with
        ? What could I send a message with
        ? What rings when somebody wants to talk
        ? What can I dial a number on
        ! I must call my sister.
        ! There is an emergency and we need help.
        ! I am late and should let them know.
        ! My friend abroad has a birthday.
        for talking to people far away
        ? What would I talk to someone far away with
        ! I promised to ring my mother.
        ! A text message must go out.
    """,
    "screen": """
        = has a screen
        with a screen
        that [has|have] a display
        you can take photos with
        to scroll through apps on
        with a touch screen
        that [runs|run] apps
        to check the weather on
        for taking a selfie
        that [shows|show] pictures on a display
        you swipe on
        to browse the internet on
        with a camera and a display
        you unlock with a fingerprint
        to watch clips on
        that [has|have] a home screen
        ? What has a screen
        ? What could I take a photo with
        ? What runs apps
        ? What would I swipe on
        ! I want a photo of this sunset.
        ! What will the weather be? I should look it up.
        ! I want to watch a clip.
        for the internet
        ? What could I browse the internet with
        ? What can be unlocked with a fingerprint
        ! I want to browse the internet.
        ! My battery of selfies is empty, let us take one.
        ! The app needs an update.
    """,
    "play": """
        = toy
        to play with
        a child could play with
        for children to play with
        that [is|are] a toy
        kids have fun with
        that [belongs|belong] in the toy chest
        from the toy shop
        for playtime
        that [amuses|amuse] a toddler
        for a game with the children
        that [goes|go] in the playroom
        a kid would like for a birthday
        from the nursery
        used in play
        that [keeps|keep] a little boy busy
        ? What could a child play with
        ? What is a toy
        ? What belongs in the toy chest
        ? What would a toddler reach for
        ! The child is bored.
        ! My nephew is visiting and wants to have fun.
        ! Tidy the toys into the chest.
        ! It is playtime.
        that a nursery would have
        ? What would be in a nursery
        ! The nursery opens in five minutes.
        ! The toddler cries and wants to have fun.
    """,
    "bounce": """
        = bounces
        that [bounces|bounce]
        to throw and catch
        that [comes|come] back up when dropped
        to dribble with
        that [bounces|bounce] off the floor
        for a game of catch
        you can kick
        you could juggle
        to toss to a friend
        for sports
        a goalkeeper would catch
        a dog would chase and bring back
        to bounce against a wall
        that [hops|hop] when it hits the ground
        you need for football
        ? What would bounce
        ? What could I throw and catch
        ? What would a dog chase
        ? What could I kick at a goal
        ! We want a game of catch.
        ! The dog wants to run after something.
        ! The team is ready for practice.
        that [comes|come] back from the wall
        that a team plays with
        for a sports lesson
        ? What bounces
        ? What is good for sports
        ? What hops off the ground
        ? What would a goalkeeper catch
        ! The goal is ready and so am I.
        ! Let's hop around and do some sports.
        ! The dog brings back whatever I throw.
        ! We need something that comes back from the wall.
        ! Sports lesson starts now.
    """,
    "sphere": """
        = sphere
        shaped like a sphere
        that [is|are] perfectly round
        that [is|are] round on every side
        with the shape of a globe
        that [rolls|roll] in any direction
        without any edges or corners
        that [looks|look] like a circle from every side
        shaped like a planet
        of spherical shape
        as round as an orange
        that [has|have] no corners at all
        with a ball shape
        that [is|are] round like a marble
        that [rolls|roll] away in any direction
        whose outline is always a circle
        ? What is shaped like a sphere
        ? What is round on every side
        ? What could roll in any direction
        ? What looks like a circle from every side
        ! The geometry teacher wants a sphere.
        ! I am learning shapes, and the round one comes next.
        ! The table tilts, so perfectly round things will roll off.
        that [is|are] round like a globe
        without corners
        that would roll down a slope in any direction
        ? What is perfectly round
        ? What has no corners
        ? What has the shape of a planet
        ! The compass and ruler are out; next is a globe shape.
        ! A perfectly round thing is needed for the model of a planet.
        ! The marble run is ready.
        ! I need something with no corners.
        ! The slope will make round things roll.
    """,
    "pack": """
        = pack things in
        to pack things in
        to put a gift in
        for storing small things
        to ship goods in
        for sending a parcel
        you would fill and tape shut
        that [arrives|arrive] by mail
        that [stores|store] belongings
        to move house with
        the postman would bring
        with a lid that folds
        for packing
        with six flat sides
        for keeping odds and ends together
        used for shipping
        ? What could I pack things in
        ? What could I ship a gift in
        ? What would the postman bring
        ? What can be taped shut
        ! We are moving house.
        ! The present must go by mail.
        ! These odds and ends need a place.
        ! The courier comes in an hour.
        for storing things
        ? What has six sides and a lid
        ! My things need storing.
        ! The parcel should go out today.
        ! I want to send a gift by mail.
    """,
    "stir": """
        = stir with
        to stir with
        to stir my tea with
        for stirring
        you eat soup with
        for scooping up sugar
        to taste the sauce with
        for eating yogurt
        used to measure out honey
        you stir coffee with
        to scoop with
        for ladling a little sauce
        one eats pudding with
        with a small bowl on a stick
        to mix milk into coffee with
        that [scoops|scoop] up sugar
        ? What could I stir my tea with
        ? What would I eat soup with
        ? What scoops sugar
        ? What do I eat yogurt with
        ! The sugar has sunk to the bottom of my tea.
        ! My yogurt is open.
        ! The sauce must be tasted.
        that [is|are] used for stirring drinks
        ? What could I measure honey with
        ? What would I use for stirring
        ? What could I eat pudding with
        ! My coffee needs stirring.
        ! The honey must be measured.
        ! There is sugar in the tea, and it should dissolve.
    """,
    "cutlery": """
        = cutlery
        from the cutlery drawer
        that [counts|count] as cutlery
        of the silverware
        used at the table to eat with
        to eat a meal with
        you lay beside a plate
        that [belongs|belong] in the cutlery drawer
        one holds while eating
        used as an eating utensil
        from the silverware set
        held in the hand at dinner
        to set the table with beside the plates
        that [lies|lie] next to the plate
        used as tableware in the hand
        waiters place beside the dish
        ? What belongs in the cutlery drawer
        ? What is laid beside a plate
        ? What would I eat a meal with
        ? What is part of the silverware
        ! The table is laid, except for the cutlery.
        ! The cutlery drawer is open.
        ! The silver needs to be polished.
        ? What would lie next to the plate
        ! The forks are missing, but something else lies next to the plate.
        ! Dinner guests need something to eat with.
    """,
    "cut": """
        = cut with
        to cut with
        to cut paper with
        for cutting
        that [cuts|cut]
        for cutting string
        to open a parcel with
        that [slices|slice] things
        with a blade
        to snip a thread with
        I could cut a ribbon with
        that [divides|divide] things in two
        to trim something with
        for slicing through tape
        used to cut
        that [has|have] blades
        ? What could I cut with
        ? What could open a taped parcel
        ? What has a blade
        ? What would cut this ribbon
        ! The parcel is taped shut.
        ! This thread is too long.
        ! The ribbon should be cut in two.
        ! I must trim the label.
        for slicing
        ? What slices things
        ? What could snip a thread
        ! The tape on this parcel will not tear.
        ! I need the ribbon in two pieces.
    """,
    "sharp": """
        = sharp
        that [is|are] sharp
        that could hurt you with an edge
        you could cut yourself on
        that [is|are] dangerous for small children because of the edge
        with a sharp edge
        that must be kept from toddlers, being sharp
        not allowed in hand luggage
        you should hand over handle first
        you must not run with
        that [is|are] risky to touch at the edge
        that could make you bleed
        with a pointed end that stabs
        that [is|are] a cutting hazard
        that might prick your finger
        security would take away
        ? What is sharp
        ? What could I cut myself on
        ? What must I not run with
        ? What is not allowed in hand luggage
        ! A toddler is coming near the table.
        ! Careful, somebody could get hurt and bleed.
        ! The airport check is next.
        ! Sharp things must go out of reach.
        that [counts|count] as a hazard for fingers
        pointed or bladed
        ? What is a cutting hazard
        ? What is pointed and dangerous
        ? What should be kept away from toddlers
        ! There is a pointed hazard somewhere.
        ! The children must be kept safe from blades.
        ! I pricked my finger.
    """,
    "brew": """
        = brew tea
        to brew tea in
        for making tea
        you steep tea leaves in
        with a spout for tea
        that [holds|hold] tea for several people
        tea is made in
        for serving tea
        that [pours|pour] tea from a spout
        that [keeps|keep] tea warm
        for a tea party
        that [has|have] a lid and a spout
        you put tea bags in
        to prepare a pot of tea in
        for green tea with friends
        with a spout and a lid
        ? What could I make tea in
        ? What has a spout
        ? Where do tea leaves steep
        ? What is passed round at a tea party
        ! The tea leaves are ready to steep.
        ! Friends are coming for tea.
        ! It is five o'clock, tea time.
        ? What would I put tea bags in
        ! The water boils for the tea.
        ! Green tea would be lovely.
        ! Tea for four, please.
    """,
    "see_through": """
        = see-through
        that [is|are] see-through
        that [is|are] transparent
        made to be looked through
        you can look through
        of clear material
        that [lets|let] light through
        whose wall is clear
        that [shows|show] what is in it
        that [shatters|shatter] into clear shards
        with clear sides
        that [hides|hide] nothing inside
        clear like a window
        of the stuff that windows are made of
        with walls you see through
        blown by a glassmaker
        ? What can I see through
        ? What is transparent
        ? What is made of the same stuff as windows
        ? What has clear sides
        ! The glassblower asks for his piece.
        ! I want to see how full it is from outside.
        ! The sculpture needs something transparent.
        that [is|are] clear on all sides
        transparent like a window
        that a glassblower made
        ? What is clear like a window
        ? What lets light through
        ? What could I look through
        ! The light should pass through it.
        ! I want to watch the bubbles from outside.
        ! The photographer wants something transparent.
        ! It must be clear so that I see what is in it.
        ! The window maker is asking.
    """,
    "wheels": """
        = has wheels
        with wheels
        that [has|have] wheels
        that [rolls|roll] on wheels
        you can push along like a vehicle
        shaped like a vehicle
        with four small tyres
        that [looks|look] like something from the road
        to race along the floor
        with a little bonnet and doors
        that [is|are] a small copy of a vehicle
        with axles
        you drive with your hand
        for a little racing track
        that [runs|run] on tyres
        for a toy garage
        ? What has wheels
        ? What could race along the floor
        ? What has tyres
        ? What would park in a toy garage
        ! The toy garage is empty.
        ! The racing track is built.
        ! A little driver looks for a vehicle.
        that could go down a ramp on wheels
        with four wheels
        that [drives|drive] on a toy road
        ? What could drive down the ramp
        ? What has four wheels
        ? What is a small copy of a vehicle
        ! The ramp is ready for a race.
        ! The toy road needs traffic.
        ! A tyre came off and must be fixed.
        ! The little garage has space for one more.
        ! Four wheels are better than none.
    """,
    "flowers": """
        = put flowers in
        to put flowers in
        for flowers
        for a bouquet
        to arrange roses in
        that [holds|hold] a bunch of tulips
        you fill with water for flowers
        for cut flowers
        that [keeps|keep] roses fresh
        to display blossoms in
        a florist would use
        for a bunch of lilies
        for stems in water
        made for bouquets
        one sets on a table with flowers in it
        to stand sunflowers in
        ? What could I put flowers in
        ? What holds a bouquet
        ? What would keep the tulips fresh
        ? What would a florist fill
        ! I got a bouquet of roses.
        ! The tulips are drooping and need water.
        ! The florist has just delivered.
        ? What could hold stems in water
        ? Where would roses go
        ! The stems need water.
        ! It is Mother's Day and I bought lilies.
        ! These sunflowers should stand somewhere.
    """,
    "bolt": """
        = turn bolts
        to turn a bolt with
        to tighten a nut with
        for loosening bolts
        a plumber would use on a pipe
        that [grips|grip] a nut
        to undo a nut with
        for tightening bolts
        that [fits|fit] around a bolt head
        a mechanic turns nuts with
        for fixing a loose bolt
        to unscrew a nut with
        with jaws for a nut
        to take off a wheel nut with
        used on nuts and bolts
        for turning hexagon bolts
        ? What could I tighten a bolt with
        ? What turns a nut
        ? What would a plumber use on a pipe
        ? What fits around a bolt head
        ! The bolt on my bike is loose.
        ! A nut must be tightened.
        ! The pipe joint is leaking.
        for loosening nuts
        ? What could loosen a nut
        ? What could I undo a nut with
        ! The wheel nut has to come off.
        ! The joint of the pipe drips.
    """,
    "scrub": """
        = scrub with
        to scrub with
        for scrubbing the floor
        with bristles
        to clean the sink with
        that [has|have] bristles
        for brushing off dirt
        to get rid of dust with
        you would clean shoes with
        for sweeping crumbs away
        used to scrub stains
        to scour a pot with
        that [removes|remove] mud from boots
        for cleaning the tiles
        that [rubs|rub] dirt off
        to polish boots with
        ? What could I scrub with
        ? What has bristles
        ? What would get the mud off my boots
        ? What could I clean the sink with
        ! My boots are full of mud.
        ! The tiles are dirty.
        ! There is a stain that must be scrubbed off.
        ? What would get rid of dust
        ? What could I scour a pot with
        ! There is dust everywhere.
        ! The pot must be scoured.
        ! Crumbs all over the floor!
    """,
    "wear": """
        = wear
        to wear
        one can wear
        to wear on the head
        that [goes|go] on your head
        that [sits|sit] on the head
        you put on your head
        for the head
        worn on the head
        people put on
        that [touches|touch] your hair when worn
        I could put on
        that [is|are] worn
        that [fits|fit] over the head
        to be put on before going out
        that [is|are] something to wear
        ? What could I wear
        ? What goes on the head
        ? What can be put on
        ? What is worn over the hair
        ! My head feels bare.
        ! I am getting dressed and lack something on my head.
        ! The mannequin's head needs dressing.
        ? What could I put on my head
        ! My hair is wet and I go outside.
        ! I need something for my head.
        ! She wants to try something on.
    """,
    "shade": """
        = shade from the sun
        that [protects|protect] from the sun
        to keep the sun off my face
        with a brim
        that [shades|shade] the eyes
        for a sunny day
        with a brim against the sun
        that [keeps|keep] your hair dry
        that [is|are] made by a milliner
        to wear against sunburn
        gentlemen take off in greeting
        for shade on the beach
        against sun and rain on the head
        to keep the head warm
        for hiding bad hair
        a magician pulls a rabbit from
        ? What would keep the sun off my face
        ? What has a brim
        ? What would a magician pull a rabbit from
        ? What keeps my hair dry
        ! The sun is burning today.
        ! I get sunburn easily.
        ! My hair looks terrible this morning.
        ? What would shade my eyes
        ? What could hide bad hair
        ! The sun is very bright.
        ! It is a sunny day at the beach.
        ! I have bad hair today and must hide it.
    """,
    "listen": """
        = listen to music
        to listen to music with
        that [goes|go] over the ears
        for listening to music
        that [plays|play] sound into your ears
        to hear a song with
        with two ear pads
        for hearing a podcast privately
        you put over your ears
        that [keeps|keep] noise out
        a DJ wears
        for music on the train
        with little speakers for the ears
        to enjoy an album with
        that [covers|cover] both ears
        for not disturbing others with music
        ? What could I listen to music with
        ? What goes over the ears
        ? What does a DJ wear
        ? What keeps the noise out
        ! I want to hear my favourite song.
        ! It is loud here and I want music instead.
        ! My podcast should not disturb the others.
        with speakers for both ears
        ? What has small speakers for the ears
        ! The train is loud and I want my songs.
        ! My favourite album is out.
        ! The neighbours should not hear my music.
        ! I want to shut out the noise.
    """,
}
