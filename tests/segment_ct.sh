#!/bin/sh
# Segments a real head and holds the result against what the network is known to give:
# segment_ct.sh PROGRAM NETWORK RECIPES TEMPLATES (RECIPES has the network's recipe.json; TEMPLATES ch2.nii.gz and ch2bet.nii.gz)
set -eu
rm -rf out model
mkdir out model
cp "$2" model/model.onnx
cp "$3/recipe.json" model
"$1" model "$4/ch2.nii.gz" --reference "$4/ch2bet.nii.gz" --out out/mask.nii.gz --overlay out/brain.png >said || { cat said && exit 1; }
cat said
for file in mask.nii.gz brain.png; do test -s "out/$file"; done
awk '$1 == "Dice" { found = 1; if ($2 < 0.929) { print "a Dice of at least 0.929 was expected"; exit 1 } }
     END { if (!found) { print "no Dice was printed"; exit 1 } }' said
