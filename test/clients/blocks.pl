#!/usr/bin/perl
# blocks.pl PAGE LANGUAGE PROGRAM OUTPUT: the blocks of one language on a page, one after the other, are the program,
# and the blocks without a language that follow them are what it prints.
use strict;
use warnings;

my ($page, $language, @files) = @ARGV;
open my $in, '<', $page or die "$page: $!\n";
my ($inside, $tag, %text) = (0, q());
while (my $line = <$in>) {
    if (!$inside) {
        if ($line =~ /^```(\w*)$/) {
            # What it prints belongs to the block right before it.
            $tag = $1 ne '' ? $1 : $tag eq $language ? 'output' : 'other';
            $inside = 1;
        } elsif ($line =~ /\S/) {
            $tag = '';
        }
    } elsif ($line =~ /^```$/) {
        $inside = 0;
    } else {
        $text{$tag} .= $line;
    }
}
die "$page: no $language\n" unless $text{$language} && $text{output};
for ([$files[0], $text{$language}], [$files[1], $text{output}]) {
    open my $to, '>', $_->[0] or die "$_->[0]: $!\n";
    print $to $_->[1];
    close $to or die "$_->[0]: $!\n";
}
