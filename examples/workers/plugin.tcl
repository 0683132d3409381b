# A plugin worker in Tcl 8.6, written from docs/PLUGIN-PROTOCOL.md alone. It needs no packages.
#
# Each call of the host runs in a coroutine, so a method may wait while other calls are served.

# JSON. A value stays the text that it came as, until a method needs what is inside.

proc members {json} { # the members of an object: a dict from names to values
    set found {}; set depth 0; set name ""; set last ""
    foreach range [regexp -all -inline -indices {"(?:[^"\\]|\\.)*"|[][{},:]|[^][{},:"\s]+} $json] {
        lassign $range from to
        set token [string range $json $from $to]
        switch -- $token {
            "\{" - "\[" { incr depth }
            ":" { if {$depth == 1} { set name $last; set start [expr {$to + 1}] } }
            "," - "\}" - "\]" {
                if {$depth == 1 && $name ne ""} {
                    dict set found [text $name] [string trim [string range $json $start $from-1]]
                    set name ""
                }
                if {$token ne ","} { incr depth -1 }
            }
        }
        set last $token
    }
    return $found
}
proc get {members name {default null}} {
    expr {[dict exists $members $name] ? [dict get $members $name] : $default}
}
proc text {string} { subst -nocommands -novariables [string range $string 1 end-1] } ;# has JSON's escapes
set escapes {\\ \\\\ \" \\\"}
for {set i 0} {$i < 32} {incr i} { lappend escapes [format %c $i] [format {\u%04x} $i] }
proc quote {text} { return "\"[string map $::escapes $text]\"" }
proc object {args} { return "{[join [lmap {name value} $args { string cat [quote $name] : $value }] ,]}" }

# Messages. An error of JSON-RPC is a Tcl error with the error code {RPC OBJECT}.

proc send {args} {
    if {[catch { puts [object jsonrpc {"2.0"} {*}$args]; flush stdout }]} { exit 1 } ;# the host is gone
}
proc notify {method args} { send method [quote $method] params [object {*}$args] }
proc log {level message meta} { notify log level [quote $level] message [quote $message] meta $meta }
proc fail {code message} { throw [list RPC [object code $code message [quote $message]]] $message }

# Suspends a method until `wake KEY COMMAND`, and returns what the command returns.
proc await {key {ms 86400000}} {
    if {$::closed && ![string match timer* $key]} { fail -32000 "the host has closed the channel" }
    set ::waiting($key) [info coroutine]
    set timer [after $ms [list wake $key fail -32003 "no answer in time"]]
    set command [yield]
    after cancel $timer
    unset ::waiting($key)
    return [{*}$command]
}
proc wake {key args} { if {[info exists ::waiting($key)]} { $::waiting($key) $args } }
proc sleep {ms} {
    set key timer[incr ::lastId]
    after $ms [list wake $key list]
    await $key
}
proc callHost {method params {ms 60000}} { # returns the answer of the host, or fails with its error
    set id [incr ::lastId]
    send id $id method [quote $method] params $params
    try { set answer [await answer$id $ms] } on error {message options} {
        notify \$/cancelRequest id $id
        return -options $options $message
    }
    set error [get $answer error]
    if {$error ne "null"} { throw [list RPC $error] [text [get [members $error] message {""}]] }
    return [get $answer result]
}

# The methods: each gets the id of the call and its params, and returns its result. All are announced.

namespace eval method {}
proc method::initialize {id params} {
    set ::config [get [members $params] config]
    return [object ok true supportedMethods "\[[join [lmap name $::methods { quote $name }] ,]\]"]
}
proc method::configChanged {id params} { set ::config [get [members $params] config]; return null }
proc method::ping {id params} { return null }
proc method::greet {id params} {
    set name [get [members $params] name]
    if {![string match \"* $name]} { fail -32602 "`name` is not a string" }
    return [quote "hello, [text $name], says Tcl"]
}
proc method::ask {id params} { # asks the host
    set params [members $params]
    callHost [text [get $params method]] [get $params params]
}
proc method::wait {id params} { # tells the host each second that it is still at work
    for {set ms [expr {int(1000 * [get [members $params] seconds])}]} {$ms > 0} {incr ms -1000} {
        sleep [expr {min($ms, 1000)}]
        notify \$/progress request $id
    }
    return [quote waited]
}
proc method::count {id params} { # a stream of numbers, no more than the host has room for
    set stream [incr ::lastId]
    set ::credit($stream) 0
    try {
        set opened [callHost streams.open \
            [object stream $stream channel {"numbers"} request $id credit true]]
        incr ::credit($stream) [get [members $opened] credit]
        for {set n 0} {$n < [get [members $params] to]} {incr n} {
            while {[info exists ::credit($stream)] && $::credit($stream) == 0} { await credit$stream }
            if {![info exists ::credit($stream)]} { return null } ;# the host takes no more
            incr ::credit($stream) -1
            notify streams.emit stream $stream item $n
        }
        notify streams.close stream $stream
    } trap CANCELLED {message options} {
        notify streams.close stream $stream error [object code -32099 message [quote $message]]
        return -options $options $message
    } finally { unset -nocomplain ::credit($stream) }
    return null
}

# What the host sends.

proc serve {id method params} {
    set ::open($id) 1
    try {
        if {$method ni $::methods} { fail -32601 "there is no method $method" }
        if {$::draining} { fail -32000 "the worker is about to end" }
        send id $id result [method::$method $id $params]
    } trap CANCELLED {} {} on error {message options} { # the call fails, the worker goes on
        lassign [dict get $options -errorcode] kind error
        if {$kind ne "RPC"} { set error [object code -32603 message [quote $message]] }
        log warn "$method failed" [quote $message]
        send id $id error $error
    }
    unset ::open($id)
    endIfDrained
}
proc endIfDrained {} {
    if {!$::draining || [array size ::open]} return
    if {$::shutdown ne ""} { send id $::shutdown result null }
    exit 0
}
proc receive {message} {
    set id [get $message id]
    set method [text [get $message method {""}]]
    set params [get $message params]
    switch -- $method {
        "" { wake answer$id return -level 0 $message }
        shutdown { set ::draining 1; set ::shutdown $id; endIfDrained }
        \$/cancelRequest {
            foreach {key call} [array get ::waiting] {
                if {$call eq "::call[get [members $params] id]"} { wake $key throw CANCELLED cancelled }
            }
        }
        streams.credit - streams.close {
            set stream [get [members $params] stream]
            if {![info exists ::credit($stream)]} return
            if {$method eq "streams.close"} { unset ::credit($stream) } \
            else { incr ::credit($stream) [get [members $params] items] }
            wake credit$stream list
        }
        default { if {$id ne "null"} { coroutine ::call$id serve $id $method $params } }
    }
}
proc readable {} {
    set lines [split $::rest[read stdin] \n]
    set ::rest [lindex $lines end]
    foreach line [lrange $lines 0 end-1] { if {$line ne ""} { receive [members $line] } }
    if {![eof stdin]} return
    fileevent stdin readable {} ;# as `shutdown`, but nothing that waits for the host can go on
    set ::closed 1; set ::draining 1
    foreach key [array names ::waiting -regexp ^(answer|credit)] {
        wake $key fail -32000 "the host has closed the channel"
    }
    after 5000 exit
    endIfDrained
}

foreach table {waiting open credit} { array set $table {} } ;# what we wait for, open calls, our streams
lassign {0 0 0 ""} lastId closed draining shutdown
set rest ""
set methods [lmap name [info procs method::*] { namespace tail $name }]
fconfigure stdin -blocking 0 -encoding utf-8 -translation lf
fconfigure stdout -encoding utf-8 -translation lf
fileevent stdin readable readable
vwait forever
