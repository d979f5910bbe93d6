"""Phrasings of requests, relations, choices and events: data, one line per family.

A line's family id is its slot and a hash of its text (see :mod:`.families`). ``[a|b]`` is the
singular and plural form by the number of what is asked for; ``{np}`` a definite noun phrase,
``{h}`` a bare head ("red mug"), ``{of}`` the anchor, ``{set}`` a definite plural, ``{ord}`` an
ordinal. In relation slots a line that begins with ``~`` is a verb phrase ("moved left"), the
others follow *is/are* or stand right after the noun.
"""

from __future__ import annotations

__all__ = ["PHRASES"]


def _lines(text: str) -> tuple[str, ...]:
    return tuple(line.strip() for line in text.strip().splitlines() if line.strip())


PHRASES: dict[str, tuple[str, ...]] = {
    "open": _lines("""
        Find {np}.
        Show me {np}.
        Point to {np}.
        Point out {np}.
        Where [is|are] {np}?
        Which [one is|ones are] {np}?
        Which object[ is|s are] {np}?
        Which item[ is|s are] {np}?
        Select {np}.
        Segment {np}.
        Mark {np}.
        Highlight {np}.
        Give me {np}.
        Hand me {np}.
        Pass me {np}.
        Bring me {np}.
        Fetch {np}.
        Get {np}.
        Grab {np}.
        Pick up {np}.
        Pick {np}.
        Pick out {np}.
        Take {np}.
        Locate {np}.
        Identify {np}.
        Outline {np}.
        Track {np}.
        Circle {np}.
        Indicate {np}.
        Look for {np}.
        Search for {np}.
        Name {np}.
        Detect {np}.
        Choose {np}.
        Spot {np}.
        Isolate {np}.
        Return {np}.
        Get me {np}.
        Mask {np}.
        Cut out {np}.
        Draw a mask over {np}.
        Colour in {np}.
        Put a box around {np}.
        Can you find {np}?
        Can you see {np}?
        Can you show me {np}?
        Can you point at {np}?
        Could you pass me {np}?
        Could you point out {np}?
        Could you pick out {np}?
        Could you mark {np}?
        Would you hand me {np}?
        Would you show me {np}?
        Will you fetch {np}?
        I need {np}.
        I want {np}.
        I am looking for {np}.
        I'm looking for {np}.
        I'd like {np}.
        I would like to see {np}.
        I want to pick up {np}.
        I need to know which [one is|ones are] {np}.
        I can't find {np}.
        I have lost {np}.
        Help me find {np}.
        Help me locate {np}.
        Let me see {np}.
        Let me have {np}.
        Tell me which [one is|ones are] {np}.
        Tell me where {np} [is|are].
        Tell me which object[ is|s are] {np}.
        Show where {np} [is|are].
        Do you see {np}?
        What are the pixels of {np}?
        What [is|are] {np}?
        Which thing[ is|s are] {np}?
        Which of these [is|are] {np}?
        Which of the objects [is|are] {np}?
        Which of the things on the table [is|are] {np}?
        Out of everything here, which [one is|ones are] {np}?
        In this scene, find {np}.
        In the video, mark {np}.
        In this clip, which [one is|ones are] {np}?
        On the table, show me {np}.
        Among these objects, pick {np}.
        From the things here, choose {np}.
        Go and get {np}.
        Reach for {np}.
        Move to {np}.
        Move the arm to {np}.
        Grip {np}.
        Grasp {np}.
        Keep an eye on {np}.
        Watch {np}.
        Follow {np}.
        Zoom in on {np}.
        Focus on {np}.
        Put your finger on {np}.
        Which [one|ones] would you call {np}?
        My target [is|are] {np}.
        The answer should be {np}.
        Give the mask of {np}.
        Give me the outline of {np}.
        Make {np} stand out.
        Have a look at {np}.
        Look at {np}.
        Check where {np} [is|are].
        See if you can find {np}.
        Try to find {np}.
        Just find {np}.
        Where can I find {np}?
        Where do you see {np}?
        Where would I find {np}?
        Where in the picture [is|are] {np}?
        Whereabouts [is|are] {np}?
        What position [is|are] {np} in?
        Which region shows {np}?
        Which pixels belong to {np}?
        I am after {np}.
        I should pick up {np}.
        I have to find {np}.
        It is time to grab {np}.
        The robot should take {np}.
        The gripper should close on {np}.
        The camera should follow {np}.
    """),
    "open.all": _lines("""
        Find all {np}.
        Show me all {np}.
        Mark all of {np}.
        Select every one of {np}.
        List all {np}.
        Highlight all of {np}.
        Pick out all of {np}.
        I need all {np}.
        Give me every one of {np}.
        Segment each of {np}.
        Name each of {np}.
    """),
    "open.some": _lines("""
        Find {some}.
        I need {some}.
        Show me {some}.
        Is there {some} here?
        Do you see {some}?
        Can you find {some}?
        Give me {some}.
        Look for {some}.
        Point me to {some}.
        Is there {some} on the table?
        I am looking for {some}.
        Pick {some}.
        Hand me {some}.
        Could you get me {some}?
        Can you spot {some}?
        I want {some}.
        Fetch {some}.
        Locate {some}.
        Get me {some}.
        Bring me {some}.
    """),
    "which": _lines("""
        Which {h} {pred}?
        Here, which {h} {pred}?
        Tell me which {h} {pred}.
        Show me which {h} {pred}.
        Point out which {h} {pred}.
        Can you tell me which {h} {pred}?
        Do you know which {h} {pred}?
        Can you see which {h} {pred}?
        I wonder which {h} {pred}.
        I'd like to know which {h} {pred}.
        I need to know which {h} {pred}.
        Find out which {h} {pred}.
        Say which {h} {pred}.
        Mark whichever {h} {pred}.
        Find whichever {h} {pred}.
        Take whichever {h} {pred}.
        In this scene, which {h} {pred}?
        In the clip, which {h} {pred}?
        What {h} {pred}?
        Work out which {h} {pred}.
        Could you say which {h} {pred}?
        Look and tell me which {h} {pred}.
        Decide which {h} {pred}.
        Let me know which {h} {pred}.
    """),
    "what": _lines("""
        What {pred1}?
        Tell me what {pred1}.
        Show me what {pred1}.
        Find what {pred1}.
        Which of them {pred}?
        Which of these things {pred}?
        Which of the objects {pred}?
        Point to what {pred1}.
        Can you see what {pred1}?
        Mark what {pred1}.
        Which one[|s] {pred}?
        What here {pred1}?
        Say what {pred1}.
        Pick what {pred1}.
        I want to know what {pred1}.
        Could you tell me what {pred1}?
        Highlight what {pred1}.
        Whatever {pred1}, mark it.
    """),
    "which.of": _lines("""
        Which of {set} {pred}?
        Which one of {set} {pred}?
        Of {set}, which one {pred}?
        Among {set}, which one {pred}?
        Out of {set}, which one {pred}?
        Take {set}: which one {pred}?
        Of all {set}, which {pred}?
        Tell me which of {set} {pred}.
        Show me which of {set} {pred}.
        If you look at {set}, which one {pred}?
        Point out which one of {set} {pred}.
        Consider {set}. Which one {pred}?
        Look at {set} and pick the one that {pred}.
        Find {set} and mark the one that {pred}.
        From {set}, choose the one that {pred}.
        From {set}, take whichever {pred}.
    """),
    "versus": _lines("""
        Which is {cmp}, {a} or {b}?
        Which one is {cmp}, {a} or {b}?
        Of {a} and {b}, which is {cmp}?
        Between {a} and {b}, which one is {cmp}?
        Is {a} {cmp}, or is {b}?
        Compare {a} with {b}: which is {cmp}?
        Out of {a} and {b}, show me the one that is {cmp}.
        {a} or {b}: which is {cmp}?
        Tell me which is {cmp}: {a} or {b}.
        Take {a} or {b}, whichever is {cmp}.
        Pick the one of {a} and {b} that is {cmp}.
        What is {cmp}, {a} or {b}?
        If you compare {a} and {b}, which one is {cmp}?
        Mark {a} or {b}, whichever is {cmp}.
    """),
    "cmp.largest": _lines("""
        bigger
        larger
        more sizeable
        greater in size
        of larger size
        the bigger of the two
        the larger of the two
        taking up more room
    """),
    "cmp.smallest": _lines("""
        smaller
        tinier
        littler
        less large
        of smaller size
        the smaller of the two
        the tinier of the two
        taking up less room
    """),
    "cmp.closest": _lines("""
        closer to the camera
        nearer to us
        nearer to the camera
        less far away
        closer
        nearer
        closer to us
        more to the front
    """),
    "cmp.farthest": _lines("""
        farther from the camera
        further away
        more distant
        farther back
        farther away
        further from us
        more to the back
        farther off
    """),
    "cmp.highest": _lines("""
        higher up in the picture
        closer to the top
        higher in the image
        higher
        nearer the top
        further up
        more to the top
        higher up
    """),
    "cmp.leftmost": _lines("""
        further left
        more to the left
        closer to the left edge
        farther to the left
        more on the left
        nearer the left side
        further to the left
        left of the other one
    """),
    "head.any": ("object", "thing", "item"),
    "colour.post": _lines("""
        which [is|are] {colour}
        that [looks|look] {colour}
        with {colour} paint
        having a {colour} colour
        of a {colour} colour
        that [has|have] a {colour} colour
        that [is|are] {colour}
        in {colour}
        of {colour} colour
        coloured {colour}
        with a {colour} colour
        painted {colour}
    """),
    "colour.pred": _lines("""
        [has|have] {colour} paint
        [is|are] of a {colour} colour
        [is|are] in {colour}
        [is|are] {colour}
        [has|have] a {colour} colour
        [looks|look] {colour}
        [is|are] coloured {colour}
        [is|are] painted {colour}
        [comes|come] in {colour}
    """),
    "not.colour": _lines("""
        that [does|do] not look {colour}
        that [is|are] anything but {colour}
        not {colour} in colour
        that [doesn't|don't] have a {colour} colour
        which [is|are] not {colour}
        of a colour that is not {colour}
        that [is|are] not {colour}
        that [isn't|aren't] {colour}
        of any colour but {colour}
        in a colour other than {colour}
        whose colour is not {colour}
        that [has|have] a colour besides {colour}
        not coloured {colour}
        without {colour} colour
    """),
    "not.set": _lines("""
        which [is|are] not {of}
        not being {of}
        different from {of}
        minus {of}
        without {of}
        save for {of}
        other than {of}
        except {of}
        except for {of}
        but not {of}
        apart from {of}
        besides {of}
        excluding {of}
        leaving out {of}
        ignoring {of}
        not counting {of}
        with the exception of {of}
        aside from {of}
    """),
    "left_of": _lines("""
        at the left of {of}
        more to the left than {of}
        nearer the left edge than {of}
        closer to the left side than {of}
        off to the left of {of}
        left from {of}
        to the left of {of}
        left of {of}
        on the left of {of}
        on the left side of {of}
        on the left-hand side of {of}
        further left than {of}
        farther to the left than {of}
        leftward of {of}
        ~[has|have] {of} on [its|their] right
        ~[sits|sit] left of {of}
        ~[lies|lie] to the left of {of}
    """),
    "right_of": _lines("""
        at the right of {of}
        more to the right than {of}
        nearer the right edge than {of}
        closer to the right side than {of}
        off to the right of {of}
        right from {of}
        to the right of {of}
        right of {of}
        on the right of {of}
        on the right side of {of}
        on the right-hand side of {of}
        further right than {of}
        farther to the right than {of}
        rightward of {of}
        ~[has|have] {of} on [its|their] left
        ~[sits|sit] right of {of}
        ~[lies|lie] to the right of {of}
    """),
    "above": _lines("""
        more to the top than {of}
        nearer to the top edge than {of}
        closer to the top than {of}
        at a higher place in the picture than {of}
        above {of} in the image
        further toward the top than {of}
        above {of} in the picture
        higher than {of}
        higher up than {of}
        higher in the picture than {of}
        further up than {of}
        closer to the top of the picture than {of}
        nearer the top than {of}
        up from {of}
        ~[appears|appear] above {of}
        above {of}
    """),
    "below": _lines("""
        more to the bottom than {of}
        nearer to the bottom edge than {of}
        closer to the bottom than {of}
        at a lower place in the picture than {of}
        below {of} in the image
        further toward the bottom than {of}
        below {of} in the picture
        lower than {of}
        lower down than {of}
        lower in the picture than {of}
        further down than {of}
        closer to the bottom of the picture than {of}
        nearer the bottom than {of}
        down from {of}
        ~[appears|appear] below {of}
        below {of}
    """),
    "in_front_of": _lines("""
        nearer than {of}
        closer than {of}
        closer to us than {of}
        before {of} as seen from the camera
        more to the front than {of}
        less deep in the scene than {of}
        in front of {of}
        closer to the camera than {of}
        nearer to the camera than {of}
        nearer to us than {of}
        closer to me than {of}
        less far away than {of}
        ahead of {of}
        this side of {of}
        ~[stands|stand] in front of {of}
        ~[has|have] {of} behind [it|them]
    """),
    "behind": _lines("""
        farther away than {of}
        farther from us than {of}
        deeper in the scene than {of}
        more to the back than {of}
        farther off than {of}
        in back of {of}
        behind {of}
        farther from the camera than {of}
        further away than {of}
        at the back of {of}
        beyond {of}
        farther back than {of}
        more distant than {of}
        past {of}
        ~[stands|stand] behind {of}
        ~[has|have] {of} in front of [it|them]
    """),
    "inside": _lines("""
        sitting inside {of}
        lying in {of}
        held by the inside of {of}
        stored in {of}
        inside {of}
        in {of}
        within {of}
        put into {of}
        placed in {of}
        resting inside {of}
        ~[sits|sit] in {of}
        ~[lies|lie] in {of}
        contained in {of}
        kept in {of}
        surrounded by {of}
    """),
    "on": _lines("""
        put upon {of}
        up on {of}
        set down on {of}
        put on {of}
        found on top of {of}
        on {of}
        on top of {of}
        resting on {of}
        sitting on {of}
        lying on {of}
        standing on {of}
        placed on {of}
        stacked on {of}
        ~[rests|rest] upon {of}
        supported by {of}
        ~[stands|stand] on top of {of}
    """),
    "nearest": _lines("""
        closest of all to {of}
        nearest of all to {of}
        in the least distance to {of}
        next to {of}, closer than the rest
        closer to {of} than the others
        with the smallest distance to {of}
        nearest to {of}
        closest to {of}
        nearest {of}
        right next to {of}
        at the least distance from {of}
        at the smallest distance from {of}
        closest by {of}
        just beside {of}
        nearer to {of} than anything else
    """),
    "farthest": _lines("""
        farthest of all from {of}
        furthest away from {of}
        farther from {of} than the others
        farther from {of} than anything else
        with the largest distance to {of}
        most remote from {of}
        farthest from {of}
        furthest from {of}
        farthest away from {of}
        most distant from {of}
        at the greatest distance from {of}
        at the largest distance from {of}
        at the largest remove from {of}
        furthest off from {of}
    """),
    "ex.largest": _lines("""
        biggest {h}
        largest {h}
        {h} of the greatest size
        {h} that takes up the most room in the picture
        {h} that is the biggest
        {h} that looks largest
        most sizeable {h}
        {h} with the largest area
        {h} covering the most pixels
    """),
    "ex.smallest": _lines("""
        smallest {h}
        littlest {h}
        tiniest {h}
        {h} of the smallest size
        {h} that takes up the least room in the picture
        {h} that is the smallest
        {h} that looks smallest
        {h} with the smallest area
        {h} covering the fewest pixels
    """),
    "ex.leftmost": _lines("""
        leftmost {h}
        {h} farthest to the left
        {h} furthest left
        {h} that is the most to the left
        {h} on the far left
        {h} closest to the left edge
        {h} nearest the left border
        {h} at the left end
        {h} with nothing further left
    """),
    "ex.rightmost": _lines("""
        rightmost {h}
        {h} farthest to the right
        {h} furthest right
        {h} that is the most to the right
        {h} on the far right
        {h} closest to the right edge
        {h} nearest the right border
        {h} at the right end
        {h} with nothing further right
    """),
    "ex.highest": _lines("""
        highest {h}
        uppermost {h}
        topmost {h}
        {h} closest to the top of the picture
        {h} nearest the top edge
        {h} highest up
        {h} that is highest in the picture
        {h} at the very top
    """),
    "ex.lowest": _lines("""
        lowest {h}
        lowermost {h}
        bottommost {h}
        {h} closest to the bottom of the picture
        {h} nearest the bottom edge
        {h} lowest down
        {h} that is lowest in the picture
        {h} at the very bottom
    """),
    "ex.closest": _lines("""
        closest {h}
        nearest {h}
        {h} closest to the camera
        {h} nearest to us
        {h} closest to me
        {h} nearest the camera
        frontmost {h}
        {h} right at the front
        {h} with the smallest distance to the camera
    """),
    "ex.farthest": _lines("""
        farthest {h}
        most distant {h}
        {h} farthest from the camera
        {h} furthest away
        {h} farthest away from us
        {h} deepest in the scene
        rearmost {h}
        {h} right at the back
        {h} with the largest distance to the camera
    """),
    "nth.left.asc": _lines("""
        {h} that comes {ord} from the left
        {h} that is number {num} from the left
        {ord} {h} if you count from the left
        {ord} {h} starting from the left
        {h} found {ord} from the left
        {ord} {h} beginning at the left
        {h} with place {num} from the left
        {h} ranked {ord} from the left
        {ord} {h} from the left
        {ord} {h} counting from the left
        {ord} leftmost {h}
        {h} that is {ord} from the left
        {h} in {ord} place from the left
        number {num} {h} from the left
        {h} at position {num} from the left
        {ord} {h} going left to right
    """),
    "nth.left.desc": _lines("""
        {h} that comes {ord} from the right
        {h} that is number {num} from the right
        {ord} {h} if you count from the right
        {ord} {h} starting from the right
        {h} found {ord} from the right
        {ord} {h} beginning at the right
        {h} with place {num} from the right
        {h} ranked {ord} from the right
        {ord} {h} from the right
        {ord} {h} counting from the right
        {ord} rightmost {h}
        {h} that is {ord} from the right
        {h} in {ord} place from the right
        number {num} {h} from the right
        {h} at position {num} from the right
        {ord} {h} going right to left
    """),
    "nth.top.asc": _lines("""
        {h} that comes {ord} from the top
        {h} that is number {num} from the top
        {ord} {h} if you count from the top
        {ord} {h} starting from the top
        {h} found {ord} from the top
        {ord} {h} beginning at the top
        {h} with place {num} from the top
        {h} ranked {ord} from the top
        {ord} {h} from the top
        {ord} {h} counting from the top
        {ord} highest {h}
        {h} that is {ord} from the top
        {h} in {ord} place from the top
        number {num} {h} from the top
        {ord} {h} going top to bottom
        {ord} topmost {h}
    """),
    "nth.top.desc": _lines("""
        {h} that comes {ord} from the bottom
        {h} that is number {num} from the bottom
        {ord} {h} if you count from the bottom
        {ord} {h} starting from the bottom
        {h} found {ord} from the bottom
        {ord} {h} beginning at the bottom
        {h} with place {num} from the bottom
        {h} ranked {ord} from the bottom
        {ord} {h} from the bottom
        {ord} {h} counting from the bottom
        {ord} lowest {h}
        {h} that is {ord} from the bottom
        {h} in {ord} place from the bottom
        number {num} {h} from the bottom
        {ord} {h} going bottom to top
        {ord} bottommost {h}
    """),
    "nth.size.asc": _lines("""
        {h} ranked {ord} in size from the small end
        {ord} {h} if you count from the smallest
        {h} that is number {num} by size, small ones first
        {h} that comes {ord} in size, small ones first
        {ord} smallest {h}
        {ord} tiniest {h}
        {h} that is {ord} smallest
        number {num} {h} in size, smallest first
        {ord} littlest {h}
        {ord} {h} by size, starting with the smallest
        {h} coming {ord} when sorted from small to large
        {ord} {h} going from small to big
    """),
    "nth.size.desc": _lines("""
        {h} ranked {ord} in size from the big end
        {ord} {h} if you count from the biggest
        {h} that is number {num} by size, big ones first
        {h} that comes {ord} in size, big ones first
        {ord} largest {h}
        {ord} biggest {h}
        {h} that is {ord} largest
        number {num} {h} in size, biggest first
        {h} that is {ord} biggest
        {ord} {h} by size, starting with the biggest
        {h} coming {ord} when sorted from large to small
        {ord} {h} going from big to small
    """),
    "nth.depth.asc": _lines("""
        {h} that comes {ord} from the front
        {h} that is number {num} from the front
        {ord} {h} if you count from the front
        {ord} {h} starting from the front
        {h} found {ord} from the front
        {ord} {h} beginning at the front
        {h} with place {num} from the front
        {h} ranked {ord} from the front
        {ord} closest {h}
        {ord} nearest {h}
        {ord} {h} from the front
        {h} that is {ord} closest to the camera
        {h} that is {ord} nearest to us
        {ord} {h} counting from the camera
        number {num} {h} from the front
        {ord} {h} going front to back
    """),
    "nth.depth.desc": _lines("""
        {h} that comes {ord} from the back
        {h} that is number {num} from the back
        {ord} {h} if you count from the back
        {ord} {h} starting from the back
        {h} found {ord} from the back
        {ord} {h} beginning at the back
        {h} with place {num} from the back
        {h} ranked {ord} from the back
        {ord} farthest {h}
        {ord} most distant {h}
        {ord} {h} from the back
        {h} that is {ord} farthest from the camera
        {h} that is {ord} furthest away
        {ord} {h} counting from the back
        number {num} {h} from the back
        {ord} {h} going back to front
    """),
    "nth.speed.asc": _lines("""
        {h} that moved {ord} slowest
        {h} ranked {ord} in speed, slow ones first
        {h} that comes {ord} in speed, slow ones first
        {ord} slowest {h}
        {h} that is {ord} slowest
        number {num} {h} in speed, slowest first
        {ord} {h} by speed, starting with the slowest
        {h} with the {ord} lowest speed
    """),
    "nth.speed.desc": _lines("""
        {h} ranked {ord} in speed, fast ones first
        {h} that comes {ord} in speed, fast ones first
        {ord} fastest {h}
        {ord} quickest {h}
        {h} that is {ord} fastest
        number {num} {h} in speed, fastest first
        {ord} {h} by speed, starting with the fastest
        {h} with the {ord} highest speed
        {h} that moved {ord} fastest
        {ord} speediest {h}
    """),
    "fastest": _lines("""
        fastest {h}
        quickest {h}
        speediest {h}
        {h} that moved fastest
        {h} that moved the quickest
        {h} with the highest speed
        fastest moving {h}
        {h} that was moving with the most speed
        {h} going fastest
    """),
    "appeared": _lines("""
        ~came in during the video
        ~first showed up later
        ~entered the picture later
        ~came along later
        ~[was|were] new in the scene
        ~[was|were] missing at the start
        ~appeared
        ~came into view
        ~showed up
        ~entered the scene
        ~came into the picture
        ~turned up later
        ~was not there at first
        ~came in
        ~arrived during the clip
        ~joined the scene later
        ~entered the frame
        ~popped up
    """),
    "disappeared": _lines("""
        ~exited the scene
        ~went missing
        ~left during the clip
        ~got out of the picture
        ~[was|were] there at first but not at the end
        ~can't be seen at the end
        ~disappeared
        ~vanished
        ~left the scene
        ~went out of view
        ~left the picture
        ~[is|are] no longer there
        ~[is|are] gone at the end
        ~went away
        ~can no longer be seen
        ~left the frame
        ~dropped out of sight
        ~[is|are] not there any more
    """),
    "still": _lines("""
        ~[was|were] still all the time
        ~rested in one place
        ~made no move
        ~kept the same position
        ~[was|were] never in motion
        ~did not change place
        ~did not move
        ~stayed still
        ~stayed put
        ~stayed in place
        ~kept still
        ~never moved
        ~remained where [it was|they were]
        ~stood still
        ~didn't move
        ~[is|are] stationary
        ~kept [its|their] place
        ~[was|were] not moved
    """),
    "moved.any": _lines("""
        ~did move
        ~made a move
        ~ended up elsewhere
        ~left [its|their] place
        ~[is|are] in another place now
        ~got moved around
        ~moved
        ~changed place
        ~[was|were] moved
        ~shifted
        ~[has|have] moved
        ~did not stay still
        ~[was|were] in motion
        ~changed position
        ~went somewhere else
        ~[is|are] not where [it|they] started
        ~travelled
        ~[was|were] set in motion
    """),
    "moved.left": _lines("""
        ~moved leftwards
        ~went leftwards
        ~[was|were] shifted to the left
        ~ended up further left
        ~changed place leftwards
        ~made a move to the left
        ~moved left
        ~moved to the left
        ~went left
        ~shifted to the left
        ~travelled leftward
        ~slid left
        ~[was|were] pushed to the left
        ~headed left
        ~drifted to the left
        ~moved toward the left side
    """),
    "moved.right": _lines("""
        ~moved rightwards
        ~went rightwards
        ~[was|were] shifted to the right
        ~ended up further right
        ~changed place rightwards
        ~made a move to the right
        ~moved right
        ~moved to the right
        ~went right
        ~shifted to the right
        ~travelled rightward
        ~slid right
        ~[was|were] pushed to the right
        ~headed right
        ~drifted to the right
        ~moved toward the right side
    """),
    "moved.up": _lines("""
        ~moved upwards
        ~went upwards
        ~[was|were] shifted up
        ~ended up further up
        ~changed place upwards
        ~made a move up
        ~moved up
        ~moved upward
        ~went up
        ~rose in the picture
        ~shifted upward
        ~travelled up the picture
        ~headed up
        ~moved toward the top
        ~drifted upward
        ~climbed in the image
    """),
    "moved.down": _lines("""
        ~moved downwards
        ~went downwards
        ~[was|were] shifted down
        ~ended up further down
        ~changed place downwards
        ~made a move down
        ~moved down
        ~moved downward
        ~went down
        ~sank in the picture
        ~shifted downward
        ~travelled down the picture
        ~headed down
        ~moved toward the bottom
        ~drifted downward
        ~descended in the image
    """),
    "moved.toward": _lines("""
        ~moved nearer to us
        ~came toward the front
        ~came nearer to the camera
        ~made [its|their] way toward the camera
        ~ended up closer to the camera
        ~advanced toward us
        ~moved toward the camera
        ~came closer
        ~came nearer
        ~approached the camera
        ~moved toward us
        ~approached us
        ~got closer to the camera
        ~came to the front
        ~moved closer to us
        ~moved forward
    """),
    "moved.away": _lines("""
        ~moved farther from us
        ~went toward the back
        ~went farther from the camera
        ~made [its|their] way away from the camera
        ~ended up farther from the camera
        ~retreated from us
        ~moved away from the camera
        ~went farther away
        ~receded
        ~moved away
        ~moved away from us
        ~got farther from the camera
        ~went to the back
        ~backed away from the camera
        ~moved off into the distance
        ~moved farther off
    """),
    "before.moved": _lines("""
        ~began to move before {of}
        ~moved ahead of {of}
        ~moved first, before {of}
        ~[was|were] already moving before {of} did
        ~started before {of} in moving
        ~left [its|their] place before {of} did
        ~moved before {of}
        ~moved before {of} did
        ~[was|were] moving before {of} moved
        ~moved earlier than {of}
        ~started to move before {of}
        ~moved sooner than {of}
        ~set off before {of}
        ~had moved by the time {of} moved
    """),
    "after.moved": _lines("""
        ~began to move after {of}
        ~moved following {of}
        ~[was|were] moving only after {of}
        ~started later than {of} in moving
        ~waited for {of} to move first
        ~moved when {of} had already moved
        ~moved after {of}
        ~moved after {of} did
        ~moved only after {of} had moved
        ~moved later than {of}
        ~started to move after {of}
        ~moved once {of} had moved
        ~set off after {of}
        ~followed {of} in moving
    """),
    "before.appeared": _lines("""
        ~[was|were] seen before {of} came
        ~turned up before {of}
        ~came earlier than {of}
        ~joined the scene before {of}
        ~entered before {of}
        ~got here before {of}
        ~appeared before {of}
        ~came into view before {of}
        ~showed up before {of} did
        ~entered earlier than {of}
        ~came in before {of}
        ~arrived before {of}
        ~turned up sooner than {of}
        ~entered the scene before {of}
    """),
    "after.appeared": _lines("""
        ~[was|were] seen only after {of} came
        ~turned up after {of}
        ~came later than {of}
        ~joined the scene after {of}
        ~entered after {of}
        ~got here after {of}
        ~appeared after {of}
        ~came into view after {of}
        ~showed up after {of} did
        ~entered later than {of}
        ~came in after {of}
        ~arrived after {of}
        ~turned up later than {of}
        ~entered the scene after {of}
    """),
    "before.disappeared": _lines("""
        ~[was|were] no longer seen before {of} went
        ~went before {of} did
        ~left earlier than {of}
        ~left the frame before {of}
        ~went out of sight before {of}
        ~exited before {of}
        ~disappeared before {of}
        ~vanished before {of}
        ~left before {of} did
        ~went out of view earlier than {of}
        ~left the scene before {of}
        ~[was|were] gone before {of}
        ~went away sooner than {of}
        ~left the picture before {of}
    """),
    "after.disappeared": _lines("""
        ~[was|were] still seen after {of} went
        ~went after {of} did
        ~left later than {of}
        ~left the frame after {of}
        ~went out of sight after {of}
        ~exited after {of}
        ~disappeared after {of}
        ~vanished after {of}
        ~left after {of} did
        ~went out of view later than {of}
        ~left the scene after {of}
        ~[was|were] gone only after {of}
        ~went away later than {of}
        ~left the picture after {of}
    """),
    "during": _lines("""
        ~moved at the time that {of} moved
        ~[was|were] in motion at the same time as {of}
        ~[was|were] also moving when {of} moved
        ~moved in the same time as {of}
        ~[was|were] on the move while {of} moved
        ~shifted while {of} shifted
        ~moved while {of} moved
        ~moved at the same time as {of}
        ~moved during the motion of {of}
        ~[was|were] moving while {of} moved
        ~moved together with {of}
        ~moved when {of} moved
        ~moved along with {of}
        ~moved simultaneously with {of}
        ~moved in the same moment as {of}
    """),
    "occluded_by": _lines("""
        ~disappeared behind {of} for a moment
        ~[was|were] for some time behind {of} and not seen
        ~got hidden by {of}
        ~[was|were] covered up by {of} for a while
        ~[was|were] screened by {of}
        ~[was|were] masked by {of} for a moment
        ~[was|were] hidden by {of}
        ~[was|were] hidden behind {of}
        ~[was|were] covered by {of}
        ~[was|were] blocked from view by {of}
        ~[was|were] occluded by {of}
        ~[was|were] out of sight behind {of}
        ~went behind {of} for a while
        ~[was|were] concealed by {of}
        ~could not be seen because of {of}
        ~[was|were] obscured by {of}
    """),
    "first.moved": _lines("""
        {h} that moved before the others
        {h} that moved at the earliest time
        {h} that moved ahead of the rest
        earliest {h} that moved
        {h} that was first to move
        very first {h} to move
        {h} that moved soonest
        {h} that moved first
        first {h} to move
        first {h} that moved
        {h} that was the first to move
        {h} that started moving first
        earliest {h} to move
        {h} that moved before all others
        {h} that set off first
    """),
    "last.moved": _lines("""
        {h} that moved after the others
        {h} that moved at the latest time
        {h} that moved behind the rest
        latest {h} that moved
        {h} that was last to move
        very last {h} to move
        final {h} to move
        {h} that moved last
        last {h} to move
        last {h} that moved
        {h} that was the last to move
        {h} that started moving last
        latest {h} to move
        {h} that moved after all others
        {h} that set off last
    """),
    "first.appeared": _lines("""
        {h} that appeared before the others
        {h} that appeared at the earliest time
        {h} that appeared ahead of the rest
        earliest {h} that appeared
        {h} that was first to appear
        very first {h} to appear
        {h} that appeared soonest
        {h} that appeared first
        first {h} to appear
        first {h} that came into view
        {h} that was the first to show up
        first {h} to enter the scene
        {h} that came in first
        earliest {h} to arrive
        first {h} to turn up
    """),
    "last.appeared": _lines("""
        {h} that appeared after the others
        {h} that appeared at the latest time
        {h} that appeared behind the rest
        latest {h} that appeared
        {h} that was last to appear
        very last {h} to appear
        final {h} to appear
        {h} that appeared last
        last {h} to appear
        last {h} that came into view
        {h} that was the last to show up
        last {h} to enter the scene
        {h} that came in last
        latest {h} to arrive
        last {h} to turn up
    """),
    "first.disappeared": _lines("""
        {h} that disappeared before the others
        {h} that disappeared at the earliest time
        {h} that disappeared ahead of the rest
        earliest {h} that disappeared
        {h} that was first to disappear
        very first {h} to disappear
        {h} that disappeared soonest
        {h} that disappeared first
        first {h} to disappear
        first {h} that went out of view
        {h} that was the first to leave
        first {h} to leave the scene
        {h} that vanished first
        earliest {h} to go away
        first {h} to vanish
    """),
    "last.disappeared": _lines("""
        {h} that disappeared after the others
        {h} that disappeared at the latest time
        {h} that disappeared behind the rest
        latest {h} that disappeared
        {h} that was last to disappear
        very last {h} to disappear
        final {h} to disappear
        {h} that disappeared last
        last {h} to disappear
        last {h} that went out of view
        {h} that was the last to leave
        last {h} to leave the scene
        {h} that vanished last
        latest {h} to go away
        last {h} to vanish
    """),
    "or": _lines("""
        {a} and {b} too
        {a}, and {b}
        {a} and likewise {b}
        {a} and then also {b}
        {a} with {b}
        {a} and {b} as well
        {a} and {b}
        {a} as well as {b}
        {a} plus {b}
        both {a} and {b}
        {a} and also {b}
        {a} together with {b}
        {a} along with {b}
        {a} and, in addition, {b}
    """),
    "implicit": _lines("""
        I could take
        that will help me
        that would work
        fit for this
        that [is|are] useful for that
        that [helps|help] with this
        I could use
        that would be good for it
        that I need for it
        which would do for that
        that would help
        I could use for this
        that would do
        suited to this
        for this
        that [fits|fit] the purpose
        that would be useful here
        I should use
        that [does|do] the job
        that [is|are] right for this
        made for this
        that [solves|solve] my problem
        suited to that
        I could use then
        that would be of use
        good for that
    """),
    "why.any": _lines("""
        I am tidying the table.
        The robot arm is waiting for a target.
        We are checking the recording.
        My friend asks me about this scene.
        The gripper is ready.
        I am testing the camera.
        The next job is about one particular thing.
        Somebody left all this on the table.
        I am writing a report on this clip.
        We are sorting these objects.
        There is a lot going on here.
        I was not looking for a moment.
        The table has to be cleared.
        I am packing up.
        We have a bet about this one.
        My eyes are not good.
        The children made a mess.
        I am making a list of what is here.
        The inspection begins in a minute.
        The client wants to know something.
        I am labelling this video.
        This is for the training of a new worker.
        We play a guessing game.
        I only have time for one thing.
        The conveyor stops soon.
        Before we start, one question.
        I dropped my notes.
        The quiz master asks the following.
        We are setting the scene for a photo.
        I am watching the camera feed from home.
    """),
    "filler.pre": ("Please", "Hey,", "OK,", "Hi,", "Quick question:", "Well,", "So,", "Now,"),
    "filler.post": ("please", "thanks", "thank you", "if you can", "for me", "right now"),
}
