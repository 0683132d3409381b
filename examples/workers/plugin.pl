# A plugin worker in Perl, written from docs/PLUGIN-PROTOCOL.md alone. Perl's core modules are enough.
#
# It does one thing at a time, but while a method waits for an answer of the host, other calls are served.
use strict;
use warnings;
use IO::Handle;
use JSON::PP;

open(my $channel, '>&', \*STDOUT) or die "stdout: $!";
open(STDOUT, '>&', \*STDERR) or die "stderr: $!";    # stdout is the channel, so `print` goes to stderr
$channel->autoflush(1);
my $json = JSON::PP->new->utf8->allow_nonref;
my ($last_id, $depth, $shutdown, %answers) = (0, 0);

my %methods;
%methods = (
    initialize => sub { { ok => JSON::PP::true, supportedMethods => [keys %methods] } },
    ping => sub { undef },
    greet => sub { "hello, $_[0]{name}, says Perl" },
    ask => sub { call($_[0]{method}, $_[0]{params}) },    # asks the host
    wait => sub { select(undef, undef, undef, $_[0]{seconds}); 'waited' },
    count => sub {
        my ($params, $request) = @_;
        my $stream = ++$last_id;
        call('streams.open', { stream => $stream, channel => 'numbers', request => $request });
        say_to_host('streams.emit', { stream => $stream, item => $_ }) for 0 .. $params->{to} - 1;
        say_to_host('streams.close', { stream => $stream });
        undef;
    },
);

sub send_line { print {$channel} $json->encode({ jsonrpc => '2.0', @_ }), "\n" or exit 1 }

sub say_to_host { send_line(method => $_[0], params => $_[1]) }

# Calls the host and returns its answer; dies with its error.
sub call {
    my ($method, $params) = @_;
    my $id = ++$last_id;
    send_line(id => $id, method => $method, params => $params);
    until (exists $answers{$id}) { receive() or die "the host has closed the channel\n" }
    my $answer = delete $answers{$id};
    die $answer->{error} if $answer->{error};
    return $answer->{result};
}

sub serve {
    my ($id, $method, $params) = @_;
    $depth++;
    my $result = eval {
        my $run = $methods{$method} or die { code => -32601, message => "there is no method $method" };
        $run->($params, $id);
    };
    if (my $error = $@) {    # the call fails, the worker goes on
        $error = { code => -32603, message => "$error" } unless ref $error eq 'HASH';
        say_to_host('log', { level => 'warn', message => "$method failed", meta => $error->{message} });
        send_line(id => $id, error => $error);
    } else {
        send_line(id => $id, result => $result);
    }
    $depth--;
}

# Reads one message and does what it says. False at the end of stdin.
sub receive {
    defined(my $line = <STDIN>) or return 0;
    my $message = $json->decode($line);
    my ($id, $method) = @$message{'id', 'method'};
    if (!defined $method) { $answers{$id} = $message }
    elsif ($method eq 'shutdown') { $shutdown = $message }
    elsif (defined $id) { serve($id, $method, $message->{params}) }
    return 1;
}

1 until $shutdown && !$depth || !receive();
send_line(id => $shutdown->{id}, result => undef) if $shutdown;
