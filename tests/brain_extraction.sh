#!/bin/sh
# Segments a real head and holds the result against what the network is known to give:
# brain_extraction.sh PROGRAM MODEL TEMPLATES (the folder with ch2.nii.gz and ch2bet.nii.gz)
set -eu
rm -rf out
"$1" --model "$2" --volume "$3/ch2.nii.gz" --reference "$3/ch2bet.nii.gz" --out out >said || { cat said && exit 1; }
cat said
for file in mask.nii.gz axial.png coronal.png sagittal.png; do test -s "out/$file"; done
awk '$1 == "Dice" { found = 1; if ($2 < 0.92) { print "a Dice of at least 0.92 was expected"; exit 1 } }
     END { if (!found) { print "no Dice was printed"; exit 1 } }' said
